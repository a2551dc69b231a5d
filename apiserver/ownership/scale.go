package ownership

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Scale joins the managed fields of a parent with those of its scale subresource,
// where the same field has another path.
type Scale struct {
	m       *Manager
	handler *managedfields.ScaleHandler
	gvk     schema.GroupVersionKind
}

// Scale begins a write of parent's scale through form v; view is the scale as it
// is, which gets its managed fields. ok is false where view is no Scale.
func (m *Manager) Scale(k *kinds.Kind, v *kinds.Version, parent kinds.Object, view runtime.Object, gvk schema.GroupVersionKind) (s *Scale, ok bool, err error) {
	if gvk.Kind != "Scale" {
		return nil, false, nil
	}
	h := managedfields.NewScaleHandler(parent.GetManagedFields(), codec.GVK(k, v).GroupVersion(), pathsOf(k))
	fields, err := h.ToSubresource()
	if err != nil {
		return nil, false, fmt.Errorf("ownership: scale: %w", err)
	}
	acc, err := meta.Accessor(view)
	if err != nil {
		return nil, false, err
	}
	acc.SetManagedFields(fields)
	return &Scale{m: m, handler: h, gvk: gvk}, true, nil
}

func (s *Scale) manager() (*managedfields.FieldManager, error) {
	if s.m.once.Do(s.m.load); s.m.err != nil {
		return nil, s.m.err
	}
	c := viewConverter{s.gvk, s.m.scheme}
	return managedfields.NewDefaultFieldManager(s.m.types, c, c, c, s.gvk, s.gvk.GroupVersion(), "scale", nil)
}

// Update notes that manager changed live into view.
func (s *Scale) Update(live, view runtime.Object, manager string) (runtime.Object, error) {
	fm, err := s.manager()
	if err != nil {
		return nil, err
	}
	return bare(fm.UpdateNoErrors(named(live, s.gvk), named(view, s.gvk), manager)), nil
}

// Apply merges a server-side apply into live.
func (s *Scale) Apply(live, patch runtime.Object, manager string, force bool) (runtime.Object, error) {
	fm, err := s.manager()
	if err != nil {
		return nil, err
	}
	out, err := fm.Apply(named(live, s.gvk), patch, manager, force)
	if err != nil {
		return nil, err
	}
	return bare(out), nil
}

// Parent are the parent's managed fields after the write of view.
func (s *Scale) Parent(view runtime.Object) ([]metav1.ManagedFieldsEntry, error) {
	acc, err := meta.Accessor(view)
	if err != nil {
		return nil, err
	}
	return s.handler.ToParent(acc.GetManagedFields())
}

// View notes on a new object of gvk, posted to the subresource sub, whose fields are
// set by manager.
func (m *Manager) View(gvk schema.GroupVersionKind, sub string, view runtime.Object, manager string) (runtime.Object, error) {
	if m.once.Do(m.load); m.err != nil {
		return nil, m.err
	}
	c := viewConverter{gvk, m.scheme}
	fm, err := managedfields.NewDefaultFieldManager(m.types, c, c, c, gvk, gvk.GroupVersion(), sub, nil)
	if err != nil {
		return nil, err
	}
	empty, err := c.New(gvk)
	if err != nil {
		return nil, err
	}
	return bare(fm.UpdateNoErrors(empty, named(view, gvk), manager)), nil
}

func named(obj runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
	c := codec.Shallow(obj)
	c.GetObjectKind().SetGroupVersionKind(gvk)
	return c
}

func bare(obj runtime.Object) runtime.Object {
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj
}

// viewConverter serves the field manager for a view, which has one version.
type viewConverter struct {
	gvk    schema.GroupVersionKind
	scheme *runtime.Scheme
}

func (c viewConverter) Convert(in, out, context any) error {
	return fmt.Errorf("ownership: cannot convert %T into %T", in, out)
}

func (c viewConverter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

func (c viewConverter) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(runtime.Unstructured)
	if !ok {
		return in, nil
	}
	out, err := c.New(c.gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.UnstructuredContent(), out); err != nil {
		return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", c.gvk, err)
	}
	return out, nil
}

func (c viewConverter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	obj, err := c.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default does nothing: a scale has no defaults.
func (c viewConverter) Default(runtime.Object) {}
