package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// ByOwner is the index of objects by the uid of their controller; objects without
// one are found under Orphans.
const (
	ByOwner = "owner"
	Orphans = "none"
)

// OwnerUID is the value of the index ByOwner.
func OwnerUID(obj crclient.Object) []string {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		return []string{string(ref.UID)}
	}
	return []string{Orphans}
}

// PodsOf lists the pods that owner controls, and with orphans also those of its
// namespace that nobody controls. They are shared: copy before a change.
func (e *Env) PodsOf(ctx context.Context, owner metav1.Object, orphans bool) ([]*corev1.Pod, error) {
	uids := []string{string(owner.GetUID())}
	if orphans {
		uids = append(uids, Orphans)
	}
	var out []*corev1.Pod
	for _, uid := range uids {
		var list corev1.PodList
		err := e.Cache.List(ctx, &list, crclient.InNamespace(owner.GetNamespace()),
			crclient.MatchingFields{ByOwner: uid}, crclient.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list the pods of %s: %w", owner.GetName(), err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// Claim is what a controller should do about an object that might be its own.
type Claim int

// Leave, Keep, Adopt or Release.
const (
	Leave Claim = iota
	Keep
	Adopt
	Release
)

// Decide says what owner should do about obj (see ClaimObject in Kubernetes'
// controller_ref_manager.go): keep what it controls and selects, release what it
// controls and does not select, adopt what nobody controls and it selects. A
// deleted owner neither adopts nor releases.
func Decide(owner, obj metav1.Object, sel labels.Selector) Claim {
	match := sel.Matches(labels.Set(obj.GetLabels()))
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		switch {
		case ref.UID != owner.GetUID():
			return Leave
		case match:
			return Keep
		case owner.GetDeletionTimestamp() != nil:
			return Leave
		}
		return Release
	}
	if owner.GetDeletionTimestamp() != nil || !match || obj.GetDeletionTimestamp() != nil || owner.GetNamespace() != obj.GetNamespace() {
		return Leave
	}
	return Adopt
}

// Claimer keeps, adopts and releases objects for one owner.
type Claimer struct {
	Env      *Env
	Owner    crclient.Object
	Ref      metav1.OwnerReference
	Selector labels.Selector
	// Fresh reads the owner from the server: a controller must not adopt on the
	// word of a cache for an owner that is being deleted.
	Fresh crclient.Object

	asked bool
	err   error
}

// ClaimAll returns what the owner controls after adoption and release.
func ClaimAll[T crclient.Object](ctx context.Context, c *Claimer, objs []T) ([]T, error) {
	var mine []T
	var errs []error
	for _, obj := range objs {
		switch Decide(c.Owner, obj, c.Selector) {
		case Keep:
			mine = append(mine, obj)
		case Adopt:
			ok, err := c.adopt(ctx, obj)
			if ok {
				mine = append(mine, obj)
			}
			errs = append(errs, err)
		case Release:
			errs = append(errs, c.release(ctx, obj))
		}
	}
	return mine, errors.Join(errs...)
}

func (c *Claimer) mayAdopt(ctx context.Context) error {
	if c.asked {
		return c.err
	}
	c.asked = true
	c.err = c.Env.Client.Get(ctx, crclient.ObjectKeyFromObject(c.Owner), c.Fresh)
	switch {
	case c.err != nil:
	case c.Fresh.GetUID() != c.Owner.GetUID():
		c.err = fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s", c.Ref.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), c.Fresh.GetUID(), c.Owner.GetUID())
	case c.Fresh.GetDeletionTimestamp() != nil:
		c.err = fmt.Errorf("%s/%s has just been deleted at %v", c.Owner.GetNamespace(), c.Owner.GetName(), c.Fresh.GetDeletionTimestamp())
	}
	return c.err
}

func (c *Claimer) adopt(ctx context.Context, obj crclient.Object) (bool, error) {
	if err := c.mayAdopt(ctx); err != nil {
		return false, fmt.Errorf("can't adopt %s: %w", obj.GetName(), err)
	}
	err := c.patchRefs(ctx, obj, append(obj.GetOwnerReferences()[:len(obj.GetOwnerReferences()):len(obj.GetOwnerReferences())], c.Ref))
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (c *Claimer) release(ctx context.Context, obj crclient.Object) error {
	kept := []metav1.OwnerReference{}
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID != c.Owner.GetUID() {
			kept = append(kept, ref)
		}
	}
	err := c.patchRefs(ctx, obj, kept)
	// Invalid: the references or the uid changed meanwhile, so there is nothing left
	// to release.
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return err
}

// patchRefs sets all references, guarded by the uid and version that were read.
func (c *Claimer) patchRefs(ctx context.Context, obj crclient.Object, refs []metav1.OwnerReference) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": obj.GetUID(), "resourceVersion": obj.GetResourceVersion(), "ownerReferences": refs,
	}})
	if err != nil {
		return err
	}
	target := obj.DeepCopyObject().(crclient.Object)
	return c.Env.Client.Patch(ctx, target, crclient.RawPatch(types.MergePatchType, data))
}
