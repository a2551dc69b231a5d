package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// silent is what a node's conditions become when its kubelet has not been heard of
// for the grace period; nil if they say so already. Texts are those of Kubernetes'
// node_lifecycle_controller.go.
func silent(n *corev1.Node, now metav1.Time) []corev1.NodeCondition {
	out := slices.Clone(n.Status.Conditions)
	changed := false
	for _, typ := range []corev1.NodeConditionType{
		corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
	} {
		i := slices.IndexFunc(out, func(c corev1.NodeCondition) bool { return c.Type == typ })
		switch {
		case i < 0:
			out = append(out, corev1.NodeCondition{
				Type: typ, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
				Message: "Kubelet never posted node status.", LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: now,
			})
			changed = true
		case out[i].Status != corev1.ConditionUnknown:
			out[i].Status, out[i].Reason = corev1.ConditionUnknown, "NodeStatusUnknown"
			out[i].Message, out[i].LastTransitionTime = "Kubelet stopped posting node status.", now
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return out
}

func ready(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// ours are the taints that this controller alone writes.
var ours = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable,
	corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
	corev1.TaintNodeNetworkUnavailable,
}

// taints is what a node's taints should be. With evict, a node that is not ready
// also drives its pods away; a cluster of which no node is ready must not, since it
// is then the control plane that is cut off.
func taints(n *corev1.Node, evict bool, now time.Time) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		if !slices.Contains(ours, t.Key) || foreign(t) {
			out = append(out, t)
		}
	}
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Taint{Key: key, Effect: effect}
		i := slices.IndexFunc(n.Spec.Taints, func(h corev1.Taint) bool { return h.Key == key && h.Effect == effect })
		switch {
		case i >= 0:
			t = n.Spec.Taints[i]
		case effect == corev1.TaintEffectNoExecute:
			at := metav1.NewTime(now)
			t.TimeAdded = &at
		}
		out = append(out, t)
	}
	status := map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeReady: ready(n)}
	for _, c := range n.Status.Conditions {
		status[c.Type] = c.Status
	}
	switch status[corev1.NodeReady] {
	case corev1.ConditionFalse:
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
		if evict {
			add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
		}
	case corev1.ConditionUnknown:
		add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule)
		if evict {
			add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
		}
	}
	for _, p := range []struct {
		typ corev1.NodeConditionType
		key string
	}{
		{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
		{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
		{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
		{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
	} {
		if status[p.typ] == corev1.ConditionTrue {
			add(p.key, corev1.TaintEffectNoSchedule)
		}
	}
	if n.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	return out
}

// foreign taints have one of our keys with an effect that we never write.
func foreign(t corev1.Taint) bool {
	return t.Effect != corev1.TaintEffectNoSchedule &&
		!(t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable))
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for _, t := range a {
		if !slices.ContainsFunc(b, func(o corev1.Taint) bool { return o.Key == t.Key && o.Effect == t.Effect && o.Value == t.Value }) {
			return false
		}
	}
	return true
}
