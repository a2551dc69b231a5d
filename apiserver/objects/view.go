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
	"skiff.dev/skiff/apiserver/ownership"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// UpdateView writes an object through a view of it, such as Scale. The view's
// resourceVersion and uid, where they are set, must be the object's.
func (e *Engine) UpdateView(ctx context.Context, r *Request, row *kinds.Subresource, view runtime.Object, o *metav1.UpdateOptions) (*cache.Entry, error) {
	if o == nil {
		o = &metav1.UpdateOptions{}
	}
	if err := identifyView(r, view); err != nil {
		return nil, err
	}
	manager := managerName(o.FieldManager, r.Agent)
	entry, _, err := e.change(ctx, r, &change{
		options: o, dry: dryRun(o.DryRun),
		view: func(old *cache.Entry) (*viewWrite, error) {
			w, err := e.beginView(r, row, old, dryRun(o.DryRun))
			if err != nil {
				return nil, err
			}
			return w, w.set(view.DeepCopyObject(), manager)
		},
	})
	return entry, err
}

// PatchView patches a view; empty is an empty object of the view's type.
func (e *Engine) PatchView(ctx context.Context, r *Request, row *kinds.Subresource, empty runtime.Object, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*cache.Entry, error) {
	if o == nil {
		o = &metav1.PatchOptions{}
	}
	p := &patcher{e: e, r: r, pt: pt, data: data, how: directive(o.FieldValidation),
		manager: managerName(o.FieldManager, r.Agent), force: o.Force != nil && *o.Force}
	entry, _, err := e.change(ctx, r, &change{
		options: &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation},
		dry:     dryRun(o.DryRun),
		view: func(old *cache.Entry) (*viewWrite, error) {
			w, err := e.beginView(r, row, old, dryRun(o.DryRun))
			if err != nil {
				return nil, err
			}
			if pt == types.ApplyPatchType && w.scale != nil {
				return w, p.applyView(w)
			}
			into := reflect.New(reflect.TypeOf(empty).Elem()).Interface().(runtime.Object)
			if err := p.patchView(row, w.live, into); err != nil {
				return nil, err
			}
			p.warned = true
			return w, w.set(into, p.manager)
		},
	})
	return entry, err
}

// viewWrite is one write through a view.
type viewWrite struct {
	e     *Engine
	r     *Request
	row   *kinds.Subresource
	old   *cache.Entry
	live  runtime.Object   // the view as it is
	scale *ownership.Scale // nil where the view is no Scale
	// next is the view as it shall be, after set; manager wrote it.
	next    runtime.Object
	manager string
	dry     bool
}

func (e *Engine) beginView(r *Request, row *kinds.Subresource, old *cache.Entry, dry bool) (*viewWrite, error) {
	begin := row.Get
	if row.Base != nil {
		begin = row.Base
	}
	live, err := begin(old.Object)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	w := &viewWrite{e: e, r: r, row: row, old: old, live: bare(live), dry: dry}
	scale, ok, err := e.Owners.Scale(r.Kind, r.Version, old.Object, w.live, row.Kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if ok {
		w.scale = scale
	}
	return w, nil
}

// identifyView compares what a view says to be with what the request is for, before the
// parent is looked for, and completes it.
func identifyView(r *Request, view runtime.Object) error {
	m, err := meta.Accessor(view)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := named(r, m); err != nil {
		return err
	}
	m.SetNamespace(r.Namespace)
	return nil
}

func named(r *Request, m metav1.Object) error {
	if m.GetName() == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", r.Name))
	}
	if m.GetName() != r.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), r.Name))
	}
	if ns := m.GetNamespace(); ns != "" && ns != r.Namespace {
		return errNamespace()
	}
	return nil
}

// check compares the view's identity with the request's.
func (w *viewWrite) check(m metav1.Object) error {
	r := w.r
	if err := named(r, m); err != nil {
		return err
	}
	if uid := m.GetUID(); uid != "" && uid != w.old.Object.GetUID() {
		return preconditionError(r, w.dry, fmt.Sprintf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, w.old.Object.GetUID()))
	}
	return nil
}

// set notes the new state of the view.
func (w *viewWrite) set(view runtime.Object, manager string) error {
	m, err := meta.Accessor(view)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := w.check(m); err != nil {
		return err
	}
	if w.scale != nil {
		if view, err = w.scale.Update(w.live, view, manager); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	w.next, w.manager = view, manager
	return nil
}

// parent puts the view's contents and owners into a copy of the parent.
func (w *viewWrite) parent(view runtime.Object, manager string) (kinds.Object, error) {
	m, err := meta.Accessor(view)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := w.check(m); err != nil {
		return nil, err
	}
	obj, err := w.row.Set(w.old.Object, view)
	if err != nil {
		return nil, err
	}
	if rv := m.GetResourceVersion(); rv != "" || !w.r.Kind.RequireRevision {
		obj.SetResourceVersion(rv)
	}
	if w.scale == nil {
		return w.e.Owners.Update(w.r.Kind, w.r.Version, w.r.Sub, w.old.Object, obj, manager), nil
	}
	fields, err := w.scale.Parent(view)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	obj.SetManagedFields(fields)
	return obj, nil
}

// applyView merges a server-side apply into a scale.
func (p *patcher) applyView(w *viewWrite) error {
	doc, strictErr, err := codec.ApplyPatch(p.data, p.how.strict())
	if err != nil {
		return err
	}
	view, err := w.scale.Apply(w.live, &unstructured.Unstructured{Object: doc}, p.manager, p.force)
	if err != nil {
		return err
	}
	if strictErr != nil && p.how == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", strictErr))
	}
	w.next, w.manager = view, p.manager
	return nil
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
	doc, err := codec.Object(codec.JSON, row.Kind, view)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	var patched []byte
	var strict []error
	if p.pt == types.JSONPatchType {
		patched, strict, err = codec.JSONPatch(doc, p.data, p.how.strict())
	} else {
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

// bare is a copy of obj's top without its kind and apiVersion.
func bare(obj runtime.Object) runtime.Object {
	c := codec.Shallow(obj)
	c.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return c
}
