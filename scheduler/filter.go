package scheduler

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	corev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Reasons why a node does not take a pod, worded as kube-scheduler 1.36 words them.
const (
	reasonUnschedulable = "node(s) were unschedulable"
	reasonName          = "node(s) didn't match the requested node name"
	reasonTaint         = "node(s) had untolerated taint(s)"
	reasonAffinity      = "node(s) didn't match Pod's node affinity/selector"
	reasonPorts         = "node(s) didn't have free ports for the requested pod ports"
	reasonTooMany       = "Too many pods"
)

// verdict of one node on one pod. A node takes the pod if there are no reasons.
// final says that no eviction from the node could change it.
type verdict struct {
	reasons []string
	final   bool
}

func (v verdict) ok() bool { return len(v.reasons) == 0 }

// wish is a pod in the form that nodes are judged by, compiled once for all pods
// that want the same.
type wish struct {
	pod       *v1.Pod // an example; not every field of it counts
	demand    *demand
	required  nodeaffinity.RequiredNodeAffinity
	preferred *nodeaffinity.PreferredSchedulingTerms
	// preferNone are the tolerations of effects that only make nodes less liked.
	preferNone []v1.Toleration
	images     []string
}

func newWish(p *v1.Pod) *wish {
	d := demandOf(p)
	w := &wish{pod: p, demand: &d, required: nodeaffinity.GetRequiredNodeAffinity(p)}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// Terms that cannot be read prefer nothing; validation keeps them out.
		w.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for _, t := range p.Spec.Tolerations {
		if t.Effect == "" || t.Effect == v1.TaintEffectPreferNoSchedule {
			w.preferNone = append(w.preferNone, t)
		}
	}
	for _, cs := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range cs {
			w.images = append(w.images, normalImage(cs[i].Image))
		}
	}
	return w
}

var unschedulableTaint = v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}

// judgeStatic judges what only a change of the node's object changes. Filters run
// in kube-scheduler's order, and the first that refuses gives the reason.
func judgeStatic(w *wish, n *node) verdict {
	switch {
	case n.obj.Spec.Unschedulable && !corev1.TolerationsTolerateTaint(klog.Background(), w.pod.Spec.Tolerations, &unschedulableTaint, true):
		return verdict{[]string{reasonUnschedulable}, true}
	case w.pod.Spec.NodeName != "" && w.pod.Spec.NodeName != n.obj.Name:
		return verdict{[]string{reasonName}, true}
	}
	_, refused := corev1.FindMatchingUntoleratedTaint(klog.Background(), n.obj.Spec.Taints, w.pod.Spec.Tolerations, func(t *v1.Taint) bool {
		return t.Effect == v1.TaintEffectNoSchedule || t.Effect == v1.TaintEffectNoExecute
	}, true)
	if refused {
		return verdict{[]string{reasonTaint}, true}
	}
	if match, err := w.required.Match(n.obj); err != nil || !match {
		return verdict{[]string{reasonAffinity}, true}
	}
	return verdict{}
}

// judge is the whole verdict on a node that static has nothing against.
func judge(w *wish, n *node) verdict {
	if !portsFree(w.demand.ports, n.ports) {
		return verdict{[]string{reasonPorts}, false}
	}
	var v verdict
	lack := func(reason string, never bool) {
		v.reasons = append(v.reasons, reason)
		v.final = v.final || never
	}
	if n.pods+1 > n.allowedPods {
		lack(reasonTooMany, n.allowedPods == 0)
	}
	r := &w.demand.requests
	if r.none() {
		return v
	}
	short := func(name v1.ResourceName, want, used, have int64) {
		if want > 0 && want > have-used {
			lack(fmt.Sprintf("Insufficient %v", name), want > have)
		}
	}
	short(v1.ResourceCPU, r.cpu, n.used.cpu, n.allocatable.cpu)
	short(v1.ResourceMemory, r.memory, n.used.memory, n.allocatable.memory)
	short(v1.ResourceEphemeralStorage, r.storage, n.used.storage, n.allocatable.storage)
	for name, want := range r.other {
		short(name, want, n.used.other[name], n.allocatable.other[name])
	}
	return v
}

// portsFree tells whether none of want collides with a port in use: the same
// protocol and number, on the same address or where either is for all addresses.
func portsFree(want []hostPort, used map[hostPort]int) bool {
	if len(used) == 0 {
		return true
	}
	for _, w := range want {
		if w.ip != anyIP {
			if used[w] > 0 || used[hostPort{anyIP, w.protocol, w.port}] > 0 {
				return false
			}
			continue
		}
		for u := range used {
			if u.protocol == w.protocol && u.port == w.port {
				return false
			}
		}
	}
	return true
}
