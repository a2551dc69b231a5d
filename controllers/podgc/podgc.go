// Package podgc removes pods that no node will ever take care of: of nodes that are
// gone, terminating but never bound to a node, and finished ones beyond a number.
//
// Reads: Pods, Nodes.
// Writes: deletes Pods; the status of those whose node is gone.
package podgc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const (
	period     = 20 * time.Second // between two looks while something changes
	quarantine = 40 * time.Second // a missing node may be about to register
	threshold  = 12500
)

type key struct{}

type controller struct {
	env     *loop.Env
	missing map[string]time.Time // nodes by when they were first missed
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, missing: map[string]time.Time{}}
	l := loop.New(ctx, env, "podgc", 1, reconcile.TypedFunc[key](c.reconcile))
	loop.On(l, &corev1.Pod{}, func(old, pod *corev1.Pod) {
		// Only these changes make a pod ours: its end, its deletion, its node.
		switch {
		case pod == nil:
		case old == nil, loop.Finished(pod) != loop.Finished(old), old.Spec.NodeName != pod.Spec.NodeName:
			if pod.Spec.NodeName != "" || loop.Finished(pod) || pod.DeletionTimestamp != nil {
				l.AddAfter(key{}, period)
			}
		case pod.DeletionTimestamp != nil && pod.Spec.NodeName == "":
			l.Add(key{})
		}
	})
	loop.On(l, &corev1.Node{}, func(_, n *corev1.Node) {
		if n == nil {
			l.Add(key{})
		}
	})
	return l.Start()
}

func (c *controller) reconcile(ctx context.Context, _ key) (reconcile.Result, error) {
	var pods corev1.PodList
	if err := c.env.Cache.List(ctx, &pods, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	var nodes corev1.NodeList
	if err := c.env.Cache.List(ctx, &nodes, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	now := time.Now()
	gone, wait := c.goneNodes(ctx, pods.Items, nodes.Items, now)
	limit := c.env.Config.TerminatedPods
	if limit == 0 {
		limit = threshold
	}
	var errs []error
	for _, v := range decide(pods.Items, gone, limit) {
		errs = append(errs, c.remove(ctx, v))
	}
	return reconcile.Result{RequeueAfter: wait}, errors.Join(errs...)
}

// goneNodes are the nodes that have been missing for the quarantine; wait is when
// to look at the others again.
func (c *controller) goneNodes(ctx context.Context, pods []corev1.Pod, nodes []corev1.Node, now time.Time) (gone map[string]bool, wait time.Duration) {
	there := map[string]bool{"": true}
	for i := range nodes {
		there[nodes[i].Name] = true
	}
	gone, named := map[string]bool{}, map[string]bool{}
	for i := range pods {
		name := pods[i].Spec.NodeName
		if there[name] || named[name] {
			continue
		}
		named[name] = true
		since, ok := c.missing[name]
		if !ok {
			since = now
			c.missing[name] = now
		}
		if left := quarantine - now.Sub(since); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		err := c.env.Client.Get(ctx, types.NamespacedName{Name: name}, &corev1.Node{})
		gone[name] = apierrors.IsNotFound(err)
	}
	for name := range c.missing {
		if !named[name] {
			delete(c.missing, name)
		}
	}
	return gone, wait
}

// victim is a pod to delete; a lost one is marked failed before.
type victim struct {
	pod  *corev1.Pod
	lost bool
}

// decide chooses pods: of gone nodes, terminating without a node, and the oldest
// finished ones beyond limit.
func decide(pods []corev1.Pod, gone map[string]bool, limit int) []victim {
	var out []victim
	var finished []*corev1.Pod
	for i := range pods {
		p := &pods[i]
		switch {
		case p.Spec.NodeName != "" && gone[p.Spec.NodeName]:
			out = append(out, victim{p, true})
		case p.DeletionTimestamp != nil && p.Spec.NodeName == "":
			out = append(out, victim{p, false})
		case loop.Finished(p) && p.DeletionTimestamp == nil:
			finished = append(finished, p)
		}
	}
	if over := len(finished) - limit; over > 0 && limit > 0 {
		slices.SortFunc(finished, func(a, b *corev1.Pod) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		for _, p := range finished[:over] {
			out = append(out, victim{p, false})
		}
	}
	return out
}

func (c *controller) remove(ctx context.Context, v victim) error {
	pod := v.pod.DeepCopy()
	if v.lost && !loop.Finished(pod) {
		base := pod.DeepCopy()
		pod.Status.Phase = corev1.PodFailed
		loop.SetCondition(pod, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC",
			Message: "PodGC: node no longer exists", LastTransitionTime: metav1.Now(),
		})
		if err := c.env.Client.Status().Patch(ctx, pod, crclient.StrategicMergeFrom(base)); err != nil {
			return crclient.IgnoreNotFound(err)
		}
	}
	uid := v.pod.UID
	err := c.env.Client.Delete(ctx, pod, crclient.GracePeriodSeconds(0), crclient.Preconditions{UID: &uid})
	return crclient.IgnoreNotFound(err)
}
