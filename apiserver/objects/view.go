package objects

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// UpdateView writes an object through a view of it, such as Scale. The view's
// resourceVersion and uid, where they are set, must be the object's.
func (e *Engine) UpdateView(ctx context.Context, r *Request, row *kinds.Subresource, view runtime.Object, o *metav1.UpdateOptions) (*cache.Entry, error) {
	if o == nil {
		o = &metav1.UpdateOptions{}
	}
	manager := managerName(o.FieldManager, r.Agent)
	entry, _, err := e.change(ctx, r, &change{
		options: o, dry: dryRun(o.DryRun),
		make: func(old *cache.Entry) (kinds.Object, error) {
			return e.set(r, row, old, view, manager)
		},
	})
	return entry, err
}

// set makes the new parent from a view.
func (e *Engine) set(r *Request, row *kinds.Subresource, old *cache.Entry, view runtime.Object, manager string) (kinds.Object, error) {
	m, err := meta.Accessor(view)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if m.GetName() == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", r.Name))
	}
	if m.GetName() != r.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), r.Name))
	}
	if ns := m.GetNamespace(); ns != "" && ns != r.Namespace {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if uid := m.GetUID(); uid != "" && uid != old.Object.GetUID() {
		return nil, apierrors.NewConflict(resourceOf(r), r.Name, fmt.Errorf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, old.Object.GetUID()))
	}
	obj, err := row.Set(old.Object, view)
	if err != nil {
		return nil, err
	}
	obj.SetResourceVersion(m.GetResourceVersion())
	return e.Owners.Update(r.Kind, r.Version, r.Sub, old.Object, obj, manager), nil
}

// PatchView patches a view; empty is an empty object of the view's type.
func (e *Engine) PatchView(ctx context.Context, r *Request, row *kinds.Subresource, empty runtime.Object, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*cache.Entry, error) {
	if o == nil {
		o = &metav1.PatchOptions{}
	}
	p := &patcher{e: e, r: r, pt: pt, data: data, how: directive(o.FieldValidation), manager: managerName(o.FieldManager, r.Agent)}
	entry, _, err := e.change(ctx, r, &change{
		options: &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation},
		dry:     dryRun(o.DryRun),
		make: func(old *cache.Entry) (kinds.Object, error) {
			view, err := row.Get(old.Object)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			into := reflect.New(reflect.TypeOf(empty).Elem()).Interface().(runtime.Object)
			if err := p.patchView(row, view, into); err != nil {
				return nil, err
			}
			p.warned = true
			return e.set(r, row, old, into, p.manager)
		},
	})
	return entry, err
}

// patchView applies the patch to view and reads the result into into.
func (p *patcher) patchView(row *kinds.Subresource, view, into runtime.Object) error {
	if p.pt == types.StrategicMergePatchType {
		strict, shown, err := codec.StrategicPatch(view, p.data, into, p.how.strict())
		if err != nil {
			return err
		}
		return p.report(strict, shown)
	}
	doc, err := codec.Object(codec.JSON, row.Kind, bare(view))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	var patched []byte
	var strict []error
	switch p.pt {
	case types.JSONPatchType:
		patched, strict, err = codec.JSONPatch(doc, p.data, p.how.strict())
	case types.ApplyPatchType:
		var m map[string]any
		if m, _, err = codec.ApplyPatch(p.data, p.how.strict()); err == nil {
			var b []byte
			if b, err = (&unstructured.Unstructured{Object: m}).MarshalJSON(); err == nil {
				patched, strict, err = codec.MergePatch(doc, b, p.how.strict())
			}
		}
	default:
		patched, strict, err = codec.MergePatch(doc, p.data, p.how.strict())
	}
	if err != nil {
		return err
	}
	more, err := codec.DecodePatched(patched, into, p.how.strict())
	if err != nil {
		return err
	}
	return p.report(append(strict, more...), string(patched))
}

// bare is obj without its kind and apiVersion.
func bare(obj runtime.Object) runtime.Object {
	c := codec.Shallow(obj)
	c.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return c
}
