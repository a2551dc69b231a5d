package objects

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

// Modification is a change that the server itself makes to an object: binding,
// eviction. It is not validated and owns no fields.
type Modification struct {
	// UID and ResourceVersion, where not empty, must be the stored object's.
	UID             types.UID
	ResourceVersion string
	Options         *metav1.CreateOptions
	// Change changes a copy. Its error ends the modification.
	Change func(obj kinds.Object) error
}

// Modify changes an object, again if someone comes between.
func (e *Engine) Modify(ctx context.Context, r *Request, m Modification) error {
	kc, err := e.of(r)
	if err != nil {
		return err
	}
	if err := segment(r.Name); err != nil {
		return err
	}
	var fresh freshness
	for {
		shown := e.Cache.Revision()
		old, err := e.load(kc, r)
		if err != nil {
			return err
		}
		err = func() error {
			if old == nil {
				return apierrors.NewNotFound(resourceOf(r), r.Name)
			}
			if m.UID != "" && m.UID != old.Object.GetUID() {
				return preconditionError(r, m.Options != nil && dryRun(m.Options.DryRun), fmt.Sprintf(
					"Precondition failed: UID in precondition: %v, UID in object meta: %v", m.UID, old.Object.GetUID()))
			}
			if m.ResourceVersion != "" && m.ResourceVersion != old.Object.GetResourceVersion() {
				return preconditionError(r, m.Options != nil && dryRun(m.Options.DryRun), fmt.Sprintf(
					"Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", m.ResourceVersion, old.Object.GetResourceVersion()))
			}
			obj := old.Object.DeepCopyObject().(kinds.Object)
			if err := m.Change(obj); err != nil {
				return err
			}
			if m.Options != nil && dryRun(m.Options.DryRun) {
				return nil
			}
			_, err := e.put(ctx, kc, r, obj, old)
			return err
		}()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == errConflict {
			continue
		}
		if counts, stale := fresh.counts(ctx, e, shown); stale != nil || counts {
			return cmp.Or(stale, err)
		}
	}
}

// Posted is something posted to a subresource, or a review, on its way through
// admission.
type Posted struct {
	e *Engine
	r *Request
	a *admission.Request
}

// Post runs the mutating phase on view, which was posted to a subresource with the
// kind gvk. The caller owns view and goes on with what View returns.
func (e *Engine) Post(ctx context.Context, r *Request, gvk schema.GroupVersionKind, view runtime.Object, o *metav1.CreateOptions) (*Posted, error) {
	a := e.admission(r, admission.Create, nil, nil, o, dryRun(o.DryRun))
	a.View, a.ViewKind = view, gvk
	if err := InNamespace(r, view); err != nil {
		return nil, err
	}
	return &Posted{e, r, a}, e.mutate(ctx, r, a)
}

// InNamespace refuses a view that says to be of another namespace.
func InNamespace(r *Request, view runtime.Object) error {
	m, err := meta.Accessor(view)
	if err != nil {
		return nil // no object of its own
	}
	if ns := m.GetNamespace(); ns != "" && ns != r.Namespace {
		return errNamespace()
	}
	m.SetNamespace(r.Namespace)
	return nil
}

// Stream is Post for what a stream or a proxy to parent was asked for.
func (e *Engine) Stream(ctx context.Context, r *Request, parent kinds.Object, gvk schema.GroupVersionKind, options runtime.Object) (*Posted, error) {
	a := e.admission(r, admission.Connect, nil, parent, nil, false)
	a.View, a.ViewKind = options, gvk
	return &Posted{e, r, a}, e.mutate(ctx, r, a)
}

// PostOwn is Post for an object of a kind that is answered, not stored.
func (e *Engine) PostOwn(ctx context.Context, r *Request, obj kinds.Object, o *metav1.CreateOptions) (*Posted, error) {
	a := e.admission(r, admission.Create, obj, nil, o, dryRun(o.DryRun))
	return &Posted{e, r, a}, e.mutate(ctx, r, a)
}

// View is what was posted, as admission left it.
func (p *Posted) View() runtime.Object {
	if p.a.Object != nil {
		return p.a.Object
	}
	return p.a.View
}

// Validate runs the validating phase on view, which follows from View.
func (p *Posted) Validate(ctx context.Context, view runtime.Object) error {
	if obj, ok := view.(kinds.Object); ok && p.a.Object != nil {
		p.a.Object = obj
	} else {
		p.a.View = view
	}
	defer p.a.Finish()
	return p.e.validate(ctx, p.r, p.a)
}
