// Package replicaset keeps as many pods running as each ReplicaSet asks for.
//
// Reads: ReplicaSets, Pods.
// Writes: Pods (creation, deletion, the controller reference); the status of
// ReplicaSets.
package replicaset

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

type controller struct {
	env    *loop.Env
	events loop.Recorder
	expect loop.Expectations
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("replicaset-controller")}
	c.loop = loop.New(ctx, env, "replicaset", 5, reconcile.Func(c.reconcile))
	c.loop.Index(&corev1.Pod{}, loop.ByOwner, loop.OwnerUID)
	c.loop.Index(&appsv1.ReplicaSet{}, loop.ByOwner, loop.OwnerUID)
	loop.On(c.loop, &appsv1.ReplicaSet{}, c.onSet)
	loop.On(c.loop, &corev1.Pod{}, c.onPod)
	return c.loop.Start()
}

func (c *controller) onSet(old, rs *appsv1.ReplicaSet) {
	if old != nil && (rs == nil || rs.UID != old.UID) {
		c.expect.Forget(old.UID)
	}
	loop.Enqueue[*appsv1.ReplicaSet](c.loop)(old, rs)
}

// onPod wakes the ReplicaSets that a pod's change concerns, and meets what they
// expect.
func (c *controller) onPod(old, pod *corev1.Pod) {
	switch {
	case pod == nil:
		c.lost(old)
		return
	case old == nil && pod.DeletionTimestamp != nil:
		c.lost(pod)
		return
	case old == nil:
		if ref := owner(pod); ref != nil {
			c.expect.Created(ref.UID)
		}
	case pod.DeletionTimestamp != nil:
		// A pod is lost when its deletion begins: its replacement need not wait.
		c.lost(pod)
	}
	was := owner(old)
	is := owner(pod)
	if was != nil && (is == nil || is.UID != was.UID) {
		c.loop.Add(request(old.Namespace, was))
	}
	if is != nil {
		c.loop.Add(request(pod.Namespace, is))
		return
	}
	if metav1.GetControllerOfNoCopy(pod) == nil && pod.DeletionTimestamp == nil &&
		(old == nil || was != nil || !sameLabels(old.Labels, pod.Labels)) {
		c.offer(pod)
	}
}

func (c *controller) lost(pod *corev1.Pod) {
	if ref := owner(pod); ref != nil {
		c.expect.Deleted(ref.UID, pod.UID)
		c.loop.Add(request(pod.Namespace, ref))
	}
}

// offer wakes every ReplicaSet that might adopt an orphan.
func (c *controller) offer(pod *corev1.Pod) {
	var list appsv1.ReplicaSetList
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.env.Cache.List(ctx, &list, crclient.InNamespace(pod.Namespace), crclient.UnsafeDisableDeepCopy); err != nil {
		return
	}
	for i := range list.Items {
		rs := &list.Items[i]
		if sel, err := selector(rs); err == nil && !sel.Empty() && sel.Matches(labels.Set(pod.Labels)) {
			c.loop.Add(loop.Key(rs))
		}
	}
}

func owner(pod *corev1.Pod) *metav1.OwnerReference {
	if pod == nil {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil && ref.Kind == kind.Kind {
		return ref
	}
	return nil
}

func request(namespace string, ref *metav1.OwnerReference) loop.Request {
	return loop.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: ref.Name}}
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	rs := &appsv1.ReplicaSet{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, rs); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	ready := c.expect.Met(rs.UID)
	sel, err := selector(rs)
	if err != nil {
		c.env.Log.Error("ReplicaSet is left alone", "err", err)
		return reconcile.Result{}, nil
	}
	pods, err := c.env.PodsOf(ctx, rs, true)
	if err != nil {
		return reconcile.Result{}, err
	}
	active := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !loop.Active(p) })
	claimer := &loop.Claimer{
		Env: c.env, Owner: rs, Ref: *metav1.NewControllerRef(rs, kind), Selector: sel, Fresh: &appsv1.ReplicaSet{},
	}
	if active, err = loop.ClaimAll(ctx, claimer, active); err != nil {
		return reconcile.Result{}, err
	}
	terminating := 0
	for _, p := range pods {
		if loop.Terminating(p) && metav1.IsControlledBy(p, rs) && sel.Matches(labels.Set(p.Labels)) {
			terminating++
		}
	}
	var failed error
	if ready && rs.DeletionTimestamp == nil {
		failed = c.manage(ctx, rs, active)
	}
	now := time.Now()
	if err := c.writeStatus(ctx, rs, status(rs, active, terminating, failed, now)); err != nil {
		return reconcile.Result{}, err
	}
	if failed != nil {
		return reconcile.Result{}, failed
	}
	return reconcile.Result{RequeueAfter: nextAvailable(rs, active, now)}, nil
}

// manage creates or deletes pods.
func (c *controller) manage(ctx context.Context, rs *appsv1.ReplicaSet, active []*corev1.Pod) error {
	switch diff := len(active) - int(*rs.Spec.Replicas); {
	case diff < 0:
		return c.create(ctx, rs, min(-diff, burst))
	case diff > 0:
		return c.remove(ctx, rs, active, min(diff, burst))
	}
	return nil
}

func (c *controller) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	c.expect.Expect(rs.UID, n)
	done, err := slowStart(n, func() error {
		pod := newPod(rs)
		err := c.env.Client.Create(ctx, pod)
		switch {
		case err == nil:
			c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
			return nil
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			// No pod will ever come in this namespace: nothing to try again.
			return nil
		}
		c.events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return err
	})
	for range n - done {
		c.expect.Created(rs.UID)
	}
	return err
}

func (c *controller) remove(ctx context.Context, rs *appsv1.ReplicaSet, active []*corev1.Pod, n int) error {
	related, err := c.related(ctx, rs)
	if err != nil {
		return err
	}
	gone := victims(active, related, n, time.Now())
	uids := make([]types.UID, len(gone))
	for i, p := range gone {
		uids[i] = p.UID
	}
	c.expect.Expect(rs.UID, 0, uids...)
	results := make(chan error, len(gone))
	for _, p := range gone {
		go func() { results <- c.removeOne(ctx, rs, p) }()
	}
	var first error
	for range gone {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *controller) removeOne(ctx context.Context, rs *appsv1.ReplicaSet, p *corev1.Pod) error {
	err := c.env.Client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}})
	if err == nil {
		c.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", p.Name)
		return nil
	}
	c.expect.Deleted(rs.UID, p.UID)
	if apierrors.IsNotFound(err) {
		return nil
	}
	c.events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("unable to delete pods: %w", err)
}

// related lists the pods of all ReplicaSets that have the same controller as rs.
func (c *controller) related(ctx context.Context, rs *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	sets := []appsv1.ReplicaSet{*rs}
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
		var list appsv1.ReplicaSetList
		err := c.env.Cache.List(ctx, &list, crclient.InNamespace(rs.Namespace),
			crclient.MatchingFields{loop.ByOwner: string(ref.UID)}, crclient.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		sets = list.Items
	}
	var out []*corev1.Pod
	for i := range sets {
		pods, err := c.env.PodsOf(ctx, &sets[i], false)
		if err != nil {
			return nil, err
		}
		out = append(out, pods...)
	}
	return out, nil
}

// writeStatus writes if something changed, and once more on a fresh copy if the
// first attempt came too late.
func (c *controller) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, want appsv1.ReplicaSetStatus) error {
	if sameStatus(rs.Status, want) {
		return nil
	}
	rs.Status = want
	err := c.env.Client.Status().Update(ctx, rs)
	if err == nil || !apierrors.IsConflict(err) {
		return err
	}
	if err := c.env.Client.Get(ctx, crclient.ObjectKeyFromObject(rs), rs); err != nil {
		return err
	}
	rs.Status = want
	return c.env.Client.Status().Update(ctx, rs)
}
