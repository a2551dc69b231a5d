package objects

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
	// View, where not nil, is what was posted: admission sees it.
	View    runtime.Object
	Options *metav1.CreateOptions
	// Change changes a copy. Its error ends the modification.
	Change func(obj kinds.Object) error
}

// Modify changes an object, again if someone comes between.
func (e *Engine) Modify(ctx context.Context, r *Request, m Modification) error {
	kc, err := e.of(r)
	if err != nil {
		return err
	}
	if m.View != nil {
		if err := e.Connect(ctx, r, m.View, m.Options); err != nil {
			return err
		}
	}
	for {
		shown := e.Cache.Revision()
		old := kc.Get(r.Namespace, r.Name)
		err := func() error {
			if old == nil {
				return apierrors.NewNotFound(resourceOf(r), r.Name)
			}
			if m.UID != "" && m.UID != old.Object.GetUID() {
				return preconditionError(r, false, fmt.Sprintf(
					"Precondition failed: UID in precondition: %v, UID in object meta: %v", m.UID, old.Object.GetUID()))
			}
			if m.ResourceVersion != "" && m.ResourceVersion != old.Object.GetResourceVersion() {
				return preconditionError(r, false, fmt.Sprintf(
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
		if now := e.Store.Revision(); shown < now {
			if err := e.Cache.WaitFor(ctx, now); err != nil {
				return err
			}
			continue
		}
		return err
	}
}

// Connect asks admission about something posted to a subresource.
func (e *Engine) Connect(ctx context.Context, r *Request, view runtime.Object, o *metav1.CreateOptions) error {
	var options runtime.Object
	dry := false
	if o != nil {
		options, dry = o, dryRun(o.DryRun)
	}
	a := e.admissionRequest(r, admission.Create, nil, nil, options, dry)
	a.View = view
	if err := e.Admission.Mutate(ctx, a); err != nil {
		return admissionError(r, err)
	}
	if err := e.Admission.Validate(ctx, a); err != nil {
		return admissionError(r, err)
	}
	e.flushWarnings(r, a)
	return nil
}
