// Package deployment rolls pod templates out: it makes a ReplicaSet for each
// template of a Deployment and moves replicas from the old ones to the newest.
//
// Reads: Deployments, ReplicaSets, Pods.
// Writes: ReplicaSets (creation, size, annotations, deletion, the controller
// reference); the status and the revision annotation of Deployments.
package deployment

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
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

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("deployment-controller")}
	c.loop = loop.New(ctx, env, "deployment", 5, reconcile.Func(c.reconcile))
	c.loop.Index(&corev1.Pod{}, loop.ByOwner, loop.OwnerUID)
	c.loop.Index(&appsv1.ReplicaSet{}, loop.ByOwner, loop.OwnerUID)
	loop.On(c.loop, &appsv1.Deployment{}, loop.Enqueue[*appsv1.Deployment](c.loop))
	loop.On(c.loop, &appsv1.ReplicaSet{}, c.onSet)
	loop.On(c.loop, &corev1.Pod{}, c.onPod)
	return c.loop.Start()
}

func owner(obj metav1.Object, kind string) *metav1.OwnerReference {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil && ref.Kind == kind {
		return ref
	}
	return nil
}

func (c *controller) wake(namespace string, ref *metav1.OwnerReference) {
	if ref != nil {
		c.loop.Add(loop.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: ref.Name}})
	}
}

func (c *controller) onSet(old, rs *appsv1.ReplicaSet) {
	if old != nil {
		c.wake(old.Namespace, owner(old, kind.Kind))
	}
	if rs == nil {
		return
	}
	c.wake(rs.Namespace, owner(rs, kind.Kind))
	if metav1.GetControllerOfNoCopy(rs) != nil || rs.DeletionTimestamp != nil {
		return
	}
	if old != nil && metav1.GetControllerOfNoCopy(old) == nil && reflect.DeepEqual(old.Labels, rs.Labels) {
		return
	}
	var list appsv1.DeploymentList
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.env.Cache.List(ctx, &list, crclient.InNamespace(rs.Namespace), crclient.UnsafeDisableDeepCopy); err != nil {
		return
	}
	for i := range list.Items {
		sel, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && !sel.Empty() && sel.Matches(labels.Set(rs.Labels)) {
			c.loop.Add(loop.Key(&list.Items[i]))
		}
	}
}

// onPod wakes a Deployment of strategy Recreate when a pod is gone or has ended:
// its new pods wait for the end of the old ones.
func (c *controller) onPod(old, pod *corev1.Pod) {
	if old == nil || pod != nil && (loop.Finished(old) || !loop.Finished(pod)) {
		return
	}
	ref := owner(old, "ReplicaSet")
	if ref == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var rs appsv1.ReplicaSet
	if err := c.env.Cache.Get(ctx, types.NamespacedName{Namespace: old.Namespace, Name: ref.Name}, &rs, crclient.UnsafeDisableDeepCopy); err != nil || rs.UID != ref.UID {
		return
	}
	dref := owner(&rs, kind.Kind)
	if dref == nil {
		return
	}
	var d appsv1.Deployment
	if err := c.env.Cache.Get(ctx, types.NamespacedName{Namespace: old.Namespace, Name: dref.Name}, &d, crclient.UnsafeDisableDeepCopy); err != nil {
		return
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.loop.Add(loop.Key(&d))
	}
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	d := &appsv1.Deployment{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, d); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	if d.Spec.Selector == nil || reflect.DeepEqual(*d.Spec.Selector, metav1.LabelSelector{}) {
		c.events.Eventf(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		want := *d.Status.DeepCopy()
		want.ObservedGeneration = max(want.ObservedGeneration, d.Generation)
		return reconcile.Result{}, c.writeStatus(ctx, d, want)
	}
	sets, err := c.claim(ctx, d)
	if err != nil {
		return reconcile.Result{}, err
	}
	s := &state{d: d}
	s.cur, s.old = split(d, sets)
	if d.DeletionTimestamp != nil {
		if err := c.syncRevision(ctx, s); err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, c.writeStatus(ctx, d, counts(s, time.Now()))
	}
	if cond, ok := pauseCondition(d, time.Now()); ok {
		want := *d.Status.DeepCopy()
		setCondition(&want, cond)
		if err := c.writeStatus(ctx, d, want); err != nil {
			return reconcile.Result{}, err
		}
	}
	if err := c.syncRevision(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if d.Spec.Paused || resized(s) {
		return reconcile.Result{}, c.resize(ctx, s)
	}
	switch d.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		err = c.recreate(ctx, s)
	case appsv1.RollingUpdateDeploymentStrategyType:
		err = c.roll(ctx, s)
	default:
		err = fmt.Errorf("unexpected deployment strategy type: %s", d.Spec.Strategy.Type)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	now := time.Now()
	want := rollout(s, now)
	if !reflect.DeepEqual(d.Status, want) {
		return reconcile.Result{RequeueAfter: 0}, c.writeStatus(ctx, d, want)
	}
	return reconcile.Result{RequeueAfter: recheck(d, &want, now)}, nil
}

// claim lists d's ReplicaSets after adoption and release.
func (c *controller) claim(ctx context.Context, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("deployment %s/%s has invalid label selector: %w", d.Namespace, d.Name, err)
	}
	var sets []*appsv1.ReplicaSet
	for _, uid := range []string{string(d.UID), loop.Orphans} {
		var list appsv1.ReplicaSetList
		err := c.env.Cache.List(ctx, &list, crclient.InNamespace(d.Namespace), crclient.MatchingFields{loop.ByOwner: uid}, crclient.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			sets = append(sets, &list.Items[i])
		}
	}
	return loop.ClaimAll(ctx, &loop.Claimer{
		Env: c.env, Owner: d, Ref: *metav1.NewControllerRef(d, kind), Selector: sel, Fresh: &appsv1.Deployment{},
	}, sets)
}

// syncRevision brings annotations of the present ReplicaSet and of d forward. A
// revision that comes back after a rollback gets a new number.
func (c *controller) syncRevision(ctx context.Context, s *state) error {
	if s.cur == nil {
		return nil
	}
	rs := s.cur.DeepCopy()
	changed := annotate(s.d, rs, nextRevision(s.old))
	if rs.Spec.MinReadySeconds != s.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		if err := c.env.Client.Update(ctx, rs); err != nil {
			return err
		}
	}
	s.cur = rs
	want := *s.d.Status.DeepCopy()
	if hasDeadline(s.d) && condition(&want, appsv1.DeploymentProgressing) == nil {
		setCondition(&want, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", rs.Name), time.Now()))
	}
	return c.writeRevision(ctx, s.d, rs.Annotations[revisionAnnotation], want)
}

// writeRevision writes d's revision annotation, which goes through the status
// subresource as in Kubernetes, and a status.
func (c *controller) writeRevision(ctx context.Context, d *appsv1.Deployment, rev string, want appsv1.DeploymentStatus) error {
	if d.Annotations[revisionAnnotation] == rev {
		return c.writeStatus(ctx, d, want)
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[revisionAnnotation] = rev
	d.Status = want
	return c.env.Client.Status().Update(ctx, d)
}

func (c *controller) writeStatus(ctx context.Context, d *appsv1.Deployment, want appsv1.DeploymentStatus) error {
	if reflect.DeepEqual(d.Status, want) {
		return nil
	}
	d.Status = want
	return c.env.Client.Status().Update(ctx, d)
}

// resize follows a change of size, and whatever a paused Deployment still does.
func (c *controller) resize(ctx context.Context, s *state) error {
	if _, err := c.apply(ctx, s, rescale(s)); err != nil {
		return err
	}
	if s.d.Spec.Paused {
		if err := c.cleanup(ctx, s); err != nil {
			return err
		}
	}
	return c.writeStatus(ctx, s.d, counts(s, time.Now()))
}

func (c *controller) roll(ctx context.Context, s *state) error {
	if err := c.ensure(ctx, s); err != nil {
		return err
	}
	for _, decide := range []func(*state) []scale{grow, shrink} {
		if scaled, err := c.apply(ctx, s, decide(s)); scaled || err != nil {
			return err
		}
	}
	if complete(s.d, &s.d.Status) {
		return c.cleanup(ctx, s)
	}
	return nil
}

func (c *controller) recreate(ctx context.Context, s *state) error {
	var down []scale
	for _, rs := range active(s.old) {
		down = append(down, scale{rs, 0, false})
	}
	if scaled, err := c.apply(ctx, s, down); scaled || err != nil {
		return err
	}
	for _, rs := range s.old {
		pods, err := c.env.PodsOf(ctx, rs, false)
		if err != nil {
			return err
		}
		s.oldPods = s.oldPods || rs.Status.Replicas > 0 || running(pods)
	}
	if s.oldPods {
		return nil
	}
	if err := c.ensure(ctx, s); err != nil {
		return err
	}
	if *s.cur.Spec.Replicas != *s.d.Spec.Replicas {
		if _, err := c.apply(ctx, s, []scale{{s.cur, *s.d.Spec.Replicas, false}}); err != nil {
			return err
		}
	}
	if complete(s.d, &s.d.Status) {
		return c.cleanup(ctx, s)
	}
	return nil
}

// ensure makes the ReplicaSet of the present template if there is none.
func (c *controller) ensure(ctx context.Context, s *state) error {
	if s.cur != nil {
		return nil
	}
	rs := newReplicaSet(s.d)
	*rs.Spec.Replicas = newSize(s.d, 0, wanted(s.old))
	size := *rs.Spec.Replicas
	next := nextRevision(s.old)
	annotate(s.d, rs, next)
	annotateSize(s.d, rs)
	want := *s.d.Status.DeepCopy()
	err := c.env.Client.Create(ctx, rs)
	switch {
	case err == nil:
		if size > 0 {
			c.events.Eventf(s.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", rs.Name, size)
		}
		if hasDeadline(s.d) {
			setCondition(&want, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", rs.Name), time.Now()))
		}
	case apierrors.IsAlreadyExists(err):
		if err := c.collide(ctx, s, rs, err); err != nil {
			return err
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return err
	default:
		msg := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
		if hasDeadline(s.d) {
			setCondition(&want, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateError, msg, time.Now()))
			if werr := c.writeStatus(ctx, s.d, want); werr != nil {
				c.env.Log.Debug("status not written", "deployment", s.d.Name, "err", werr)
			}
		}
		c.events.Eventf(s.d, corev1.EventTypeWarning, reasonCreateError, "%s", msg)
		return err
	}
	s.cur = rs
	return c.writeRevision(ctx, s.d, strconv.FormatInt(next, 10), want)
}

// collide settles a name that exists: it is ours after all, which a late cache did
// not show, or the hash of two templates is the same and the next one counts in the
// collision.
func (c *controller) collide(ctx context.Context, s *state, rs *appsv1.ReplicaSet, exists error) error {
	var have appsv1.ReplicaSet
	if err := c.env.Client.Get(ctx, crclient.ObjectKeyFromObject(rs), &have); err != nil {
		return err
	}
	if metav1.IsControlledBy(&have, s.d) && sameTemplate(&have.Spec.Template, &s.d.Spec.Template) {
		*rs = have
		return nil
	}
	want := *s.d.Status.DeepCopy()
	n := int32(1)
	if want.CollisionCount != nil {
		n = *want.CollisionCount + 1
	}
	want.CollisionCount = &n
	if err := c.writeStatus(ctx, s.d, want); err != nil {
		return err
	}
	return exists
}

// apply carries decisions out; s shows the ReplicaSets after it.
func (c *controller) apply(ctx context.Context, s *state, todo []scale) (scaled bool, err error) {
	for _, t := range todo {
		from := *t.rs.Spec.Replicas
		rs := t.rs.DeepCopy()
		*rs.Spec.Replicas = t.to
		if !annotateSize(s.d, rs) && from == t.to || from == t.to && !t.record {
			continue
		}
		if err := c.env.Client.Update(ctx, rs); err != nil {
			return scaled, err
		}
		s.replace(t.rs, rs)
		if from == t.to {
			continue
		}
		scaled = true
		word := "down"
		if from < t.to {
			word = "up"
		}
		c.events.Eventf(s.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", word, rs.Name, from, t.to)
	}
	return scaled, nil
}

func (s *state) replace(was, is *appsv1.ReplicaSet) {
	if s.cur == was {
		s.cur = is
	}
	for i := range s.old {
		if s.old[i] == was {
			s.old[i] = is
		}
	}
}

func (c *controller) cleanup(ctx context.Context, s *state) error {
	for _, rs := range superfluous(s) {
		if err := c.env.Client.Delete(ctx, rs); crclient.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}
