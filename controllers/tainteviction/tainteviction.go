// Package tainteviction deletes pods that do not tolerate a NoExecute taint of
// their node, at once or when their tolerationSeconds have passed.
//
// Reads: Nodes, Pods.
// Writes: deletes Pods; their condition DisruptionTarget.
package tainteviction

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/nodelifecycle"
)

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("taint-eviction-controller")}
	c.loop = loop.New(ctx, env, "tainteviction", 5, reconcile.Func(c.reconcile))
	c.loop.Index(&corev1.Pod{}, nodelifecycle.ByNode, nodelifecycle.NodeName)
	loop.On(c.loop, &corev1.Node{}, c.onNode)
	loop.On(c.loop, &corev1.Pod{}, func(old, pod *corev1.Pod) {
		if pod != nil && pod.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "" || len(old.Spec.Tolerations) != len(pod.Spec.Tolerations)) {
			c.loop.Add(loop.Key(pod))
		}
	})
	return c.loop.Start()
}

func (c *controller) onNode(old, n *corev1.Node) {
	if n == nil || old == nil && len(noExecute(n.Spec.Taints)) == 0 {
		return
	}
	if old != nil && sameTaints(noExecute(old.Spec.Taints), noExecute(n.Spec.Taints)) {
		return
	}
	var pods corev1.PodList
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// A pod that this list does not show yet wakes us itself.
	if err := c.env.Client.List(ctx, &pods, crclient.MatchingFields{nodelifecycle.ByNode: n.Name}, crclient.UnsafeDisableDeepCopy); err != nil {
		c.env.Log.Error("pods of a tainted node not found", "node", n.Name, "err", err)
		return
	}
	for i := range pods.Items {
		c.loop.Add(loop.Key(&pods.Items[i]))
	}
}

func noExecute(taints []corev1.Taint) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

// due tells when a pod has to go for its node's taints; ok is false if it may stay.
func due(taints []corev1.Taint, tolerations []corev1.Toleration) (at time.Time, ok bool) {
	var seconds int64 = -1
	var since time.Time
	for i := range taints {
		t := &taints[i]
		tolerated := false
		for j := range tolerations {
			tol := &tolerations[j]
			if !tol.ToleratesTaint(klog.Background(), t, true) {
				continue
			}
			tolerated = true
			if tol.TolerationSeconds != nil && (seconds < 0 || *tol.TolerationSeconds < seconds) {
				seconds = max(0, *tol.TolerationSeconds)
			}
		}
		if !tolerated {
			return time.Time{}, true
		}
		if t.TimeAdded != nil && t.TimeAdded.After(since) {
			since = t.TimeAdded.Time
		}
	}
	if seconds < 0 {
		return time.Time{}, false
	}
	return since.Add(time.Duration(seconds) * time.Second), true
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	pod := &corev1.Pod{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, pod, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || loop.Finished(pod) {
		return reconcile.Result{}, nil
	}
	var node corev1.Node
	if err := c.env.Cache.Get(ctx, types.NamespacedName{Name: pod.Spec.NodeName}, &node, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	at, evict := due(noExecute(node.Spec.Taints), pod.Spec.Tolerations)
	if !evict {
		return reconcile.Result{}, nil
	}
	if wait := time.Until(at); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	c.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", r.NamespacedName)
	base := pod
	pod = pod.DeepCopy()
	loop.SetCondition(pod, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.Now(),
	})
	if err := c.env.Client.Status().Patch(ctx, pod, crclient.StrategicMergeFrom(base)); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	return reconcile.Result{}, crclient.IgnoreNotFound(c.env.Client.Delete(ctx, pod))
}
