package objects

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/kinds"
)

// Deletion is the outcome of a delete.
type Deletion struct {
	// Entry is the object: as it was when it left, or as it now waits for its grace
	// period or its finalizers.
	Entry *cache.Entry
	// Gone is true when the object is no more.
	Gone bool
}

// Delete deletes an object, or marks it where it has a grace period or
// finalizers. It owns o.
func (e *Engine) Delete(ctx context.Context, r *Request, o *metav1.DeleteOptions) (Deletion, error) {
	kc, err := e.of(r)
	if err != nil {
		return Deletion{}, err
	}
	if err := segment(r.Name); err != nil {
		return Deletion{}, err
	}
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	var fresh freshness
	for {
		shown := e.Cache.Revision()
		d, err := e.deleteOnce(ctx, kc, r, o.DeepCopy())
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return Deletion{}, ctx.Err()
		}
		if err == errConflict {
			continue
		}
		if counts, stale := fresh.counts(ctx, e, shown); stale != nil || counts {
			return Deletion{}, cmp.Or(stale, err)
		}
	}
}

func (e *Engine) deleteOnce(ctx context.Context, kc *cache.Kind, r *Request, o *metav1.DeleteOptions) (Deletion, error) {
	old, err := e.load(kc, r)
	if err != nil {
		return Deletion{}, err
	}
	if old == nil {
		return Deletion{}, apierrors.NewNotFound(resourceOf(r), r.Name)
	}
	//lint:ignore SA1019 old clients say it so
	if r.Kind.Resource == "jobs" && defaultPolicy(r) == gcOrphan && o.PropagationPolicy == nil && o.OrphanDependents == nil {
		r.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning")
	}
	if err := checkPreconditions(r, old.Object, o.Preconditions); err != nil {
		return Deletion{}, err
	}
	plan := planDeletion(r, old.Object, o, e.Now())
	if plan.pending {
		entry, err := answer(r, old.Object, old.Revision)
		return Deletion{Entry: entry}, err
	}
	a := e.admission(r, admission.Delete, nil, old.Object, o, dryRun(o.DryRun))
	if err := e.mutate(ctx, r, a); err != nil {
		return Deletion{}, err
	}
	defer a.Finish()
	if err := e.validate(ctx, r, a); err != nil {
		return Deletion{}, err
	}
	switch {
	case dryRun(o.DryRun):
		if plan.obj != nil {
			entry, err := e.dryUpdate(kc, r, plan.obj, old)
			return Deletion{Entry: entry, Gone: plan.remove}, err
		}
		entry, err := answer(r, old.Object, old.Revision)
		return Deletion{Entry: entry, Gone: true}, err
	case plan.remove:
		if plan.obj != nil {
			// The last state that watchers see carries the deletion's time.
			old = &cache.Entry{Object: plan.obj, Key: old.Key, Revision: old.Revision}
		}
		entry, err := e.remove(ctx, kc, r, old)
		return Deletion{Entry: entry, Gone: true}, err
	default:
		entry, err := e.put(ctx, kc, r, plan.obj, old)
		return Deletion{Entry: entry}, err
	}
}

// plan says what a deletion does.
type plan struct {
	pending bool         // nothing: an earlier deletion is under way
	remove  bool         // delete now
	obj     kinds.Object // the object with its marks of deletion, or nil
}

// planDeletion decides (registry/rest BeforeDelete, registry/generic
// updateForGracefulDeletionAndFinalizers).
func planDeletion(r *Request, old kinds.Object, o *metav1.DeleteOptions, now time.Time) plan {
	obj := old.DeepCopyObject().(kinds.Object)
	if ns, ok := obj.(*corev1.Namespace); ok && ns.DeletionTimestamp == nil {
		return planNamespace(r, ns, o, now)
	}
	if c, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && c.DeletionTimestamp == nil {
		return planDefinition(c, now)
	}
	graceful, pending := markGraceful(r.Kind, obj, o, now)
	if pending {
		return plan{pending: true}
	}
	if fins, changed := gcFinalizers(r, obj, o); changed {
		obj.SetFinalizers(fins)
	}
	if !gone(r, obj) {
		return plan{pending: true}
	}
	waits := len(obj.GetFinalizers()) > 0
	switch {
	case waits && !graceful:
		markDeleting(obj, now)
		return plan{obj: obj}
	case waits:
		return plan{obj: obj}
	case graceful && *o.GracePeriodSeconds > 0:
		return plan{obj: obj}
	case graceful:
		return plan{remove: true, obj: obj}
	}
	return plan{remove: true}
}

// planNamespace begins the end of a namespace: its controller empties it, then
// finalizes it (core/namespace/storage, Delete).
func planNamespace(r *Request, ns *corev1.Namespace, o *metav1.DeleteOptions, now time.Time) plan {
	at := metav1.NewTime(now).Rfc3339Copy()
	ns.DeletionTimestamp = &at
	ns.Status.Phase = corev1.NamespaceTerminating
	if fins, changed := gcFinalizers(r, ns, o); changed {
		ns.Finalizers = fins
	}
	return plan{obj: ns}
}

// planDefinition begins the end of a definition: its objects are deleted first
// (registry/customresourcedefinition, Delete).
func planDefinition(c *apiextensionsv1.CustomResourceDefinition, now time.Time) plan {
	at := metav1.NewTime(now).Rfc3339Copy()
	c.DeletionTimestamp = &at
	if !apihelpers.CRDHasFinalizer(c, apiextensionsv1.CustomResourceCleanupFinalizer) {
		c.Finalizers = append(c.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	apihelpers.SetCRDCondition(c, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue,
		Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
	return plan{obj: c}
}

// markGraceful sets the time of a graceful deletion. pending says that one is
// under way that this request does not shorten.
func markGraceful(k *kinds.Kind, obj kinds.Object, o *metav1.DeleteOptions, now time.Time) (graceful, pending bool) {
	one := int64(1)
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < 0 {
		o.GracePeriodSeconds = &one
	}
	if g := obj.GetDeletionGracePeriodSeconds(); g != nil && *g < 0 {
		obj.SetDeletionGracePeriodSeconds(&one)
	}
	if k.Grace == nil {
		return false, false
	}
	if obj.GetDeletionTimestamp() != nil {
		return shortenGrace(obj, o, now)
	}
	period := k.Grace(obj, o.GracePeriodSeconds)
	o.GracePeriodSeconds = &period
	at := metav1.NewTime(now.Add(time.Duration(period) * time.Second)).Rfc3339Copy()
	obj.SetDeletionTimestamp(&at)
	obj.SetDeletionGracePeriodSeconds(&period)
	if g := obj.GetGeneration(); g > 0 {
		obj.SetGeneration(g + 1)
	}
	return true, false
}

// shortenGrace: a deletion that is under way can only be made shorter.
func shortenGrace(obj kinds.Object, o *metav1.DeleteOptions, now time.Time) (graceful, pending bool) {
	have := obj.GetDeletionGracePeriodSeconds()
	if have == nil || *have == 0 {
		return false, false
	}
	if o.GracePeriodSeconds == nil || *o.GracePeriodSeconds >= *have {
		return false, true
	}
	period := *o.GracePeriodSeconds
	at := obj.GetDeletionTimestamp().Add(time.Duration(period-*have) * time.Second)
	if at.Before(now) {
		at = now
		if period != 0 {
			period = 1
		}
	}
	o.GracePeriodSeconds = &period
	t := metav1.NewTime(at).Rfc3339Copy()
	obj.SetDeletionTimestamp(&t)
	obj.SetDeletionGracePeriodSeconds(&period)
	return true, false
}

// markDeleting marks an object that has no grace period but finalizers.
func markDeleting(obj kinds.Object, now time.Time) {
	if obj.GetDeletionTimestamp() == nil && obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if t := obj.GetDeletionTimestamp(); t == nil || t.After(now) {
		at := metav1.NewTime(now).Rfc3339Copy()
		obj.SetDeletionTimestamp(&at)
	}
	zero := int64(0)
	obj.SetDeletionGracePeriodSeconds(&zero)
}

// gcFinalizers are the object's finalizers with those of the garbage collector as
// the request wants them (registry/generic, deletionFinalizersForGarbageCollection).
func gcFinalizers(r *Request, obj kinds.Object, o *metav1.DeleteOptions) (fins []string, changed bool) {
	policy := defaultPolicy(r)
	orphan, foreground := false, false
	have := obj.GetFinalizers()
	switch {
	case policy == gcUnsupported:
	//lint:ignore SA1019 old clients say it so
	case o.OrphanDependents != nil:
		//lint:ignore SA1019 old clients say it so
		orphan = *o.OrphanDependents
	case o.PropagationPolicy != nil:
		orphan = *o.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *o.PropagationPolicy == metav1.DeletePropagationForeground
	case slices.Contains(have, metav1.FinalizerOrphanDependents):
		orphan = true
	case slices.Contains(have, metav1.FinalizerDeleteDependents):
		foreground = true
	default:
		orphan = policy == gcOrphan
	}
	for _, f := range have {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			fins = append(fins, f)
		}
	}
	if orphan {
		fins = append(fins, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		fins = append(fins, metav1.FinalizerDeleteDependents)
	}
	if len(fins) != len(have) {
		return fins, true
	}
	for _, f := range fins {
		if !slices.Contains(have, f) {
			return fins, true
		}
	}
	return have, false
}

func checkPreconditions(r *Request, obj kinds.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	gr := resourceOf(r)
	gr.Resource = r.Kind.Kind
	if p.UID != nil && *p.UID != obj.GetUID() {
		return apierrors.NewConflict(gr, obj.GetName(), fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, obj.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(gr, obj.GetName(), fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, obj.GetResourceVersion()))
	}
	return nil
}

// Match selects objects of a collection.
type Match func(obj kinds.Object) bool

// BySelector selects by labels; nil selects everything.
func BySelector(sel labels.Selector) Match {
	if sel == nil || sel.Empty() {
		return func(kinds.Object) bool { return true }
	}
	return func(obj kinds.Object) bool { return sel.Matches(labels.Set(obj.GetLabels())) }
}

// DeleteCollection deletes what matches, one after the other, and returns the
// entries as they were listed. Objects that are gone meanwhile are no error.
func (e *Engine) DeleteCollection(ctx context.Context, r *Request, match Match, limit int64, o *metav1.DeleteOptions) (items []*cache.Entry, rev int64, err error) {
	kc, err := e.of(r)
	if err != nil {
		return nil, 0, err
	}
	if err := e.Cache.Fresh(ctx); err != nil {
		return nil, 0, err
	}
	s := kc.Snapshot()
	s.Ascend(r.Namespace, "", func(x *cache.Entry) bool {
		if match(x.Object) {
			items = append(items, x)
		}
		return limit <= 0 || int64(len(items)) < limit
	})
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	err = parallel(ctx, len(items), func(i int) error {
		one := *r
		one.Namespace, one.Name, one.inCollection = items[i].Object.GetNamespace(), items[i].Object.GetName(), true
		_, err := e.Delete(ctx, &one, o.DeepCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return items, s.Revision, err
}
