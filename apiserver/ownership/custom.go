package ownership

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// Kinds that users define have no Go types: their objects go through the field
// manager as Unstructured, with typed values by the definition's schema.

// updateCustom is Update for a custom kind.
func (m *Manager) updateCustom(k *kinds.Kind, sub string, live, obj kinds.Object, manager string) kinds.Object {
	if unchanged(live, obj) {
		obj.SetManagedFields(live.GetManagedFields())
		return obj
	}
	fm, err := m.customManager(k, sub)
	if err != nil {
		obj.SetManagedFields(nil)
		return obj
	}
	from, err1 := contents(k, live)
	to, err2 := contents(k, obj)
	if err1 != nil || err2 != nil {
		obj.SetManagedFields(nil)
		return obj
	}
	out := fm.UpdateNoErrors(from, to, manager)
	if u, ok := out.(*unstructured.Unstructured); ok {
		obj.SetManagedFields(u.GetManagedFields())
	}
	return obj
}

// unchanged tells whether nobody's fields can have changed.
func unchanged(live, obj kinds.Object) bool {
	a, ok1 := live.(*dynamic.Object)
	b, ok2 := obj.(*dynamic.Object)
	if !ok1 || !ok2 || a.UID == "" || a.Version != b.Version || len(a.ManagedFields) == 0 || b.ManagedFields != nil && !sameEntries(b.ManagedFields, a.ManagedFields) {
		return false
	}
	x, y := *a, *b
	return prune(&x, &y)
}

// applyCustom is Apply for a custom kind.
func (m *Manager) applyCustom(k *kinds.Kind, sub string, live kinds.Object, patch runtime.Object, manager string, force bool) (kinds.Object, error) {
	fm, err := m.customManager(k, sub)
	if err != nil {
		return nil, err
	}
	from, err := contents(k, live)
	if err != nil {
		return nil, err
	}
	out, err := fm.Apply(from, patch, manager, force)
	if err != nil {
		return nil, err
	}
	u, ok := out.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("ownership: apply made a %T", out)
	}
	// What was merged shares parts with the live object.
	obj, err := objectOf(u.DeepCopy())
	if err != nil {
		return nil, err
	}
	obj.TypeMeta = metav1.TypeMeta{}
	return obj, nil
}

// typesOf makes typed values of a definition's objects.
func typesOf(k *kinds.Kind) (managedfields.TypeConverter, error) {
	made, err := k.Custom.Types()
	if err != nil {
		return nil, err
	}
	types, ok := made.(managedfields.TypeConverter)
	if !ok {
		return nil, fmt.Errorf("ownership: %T is no type converter", made)
	}
	return types, nil
}

func (m *Manager) customManager(k *kinds.Kind, sub string) (*managedfields.FieldManager, error) {
	types, err := typesOf(k)
	if err != nil {
		return nil, err
	}
	key := form{k, nil, sub}
	m.mu.RLock()
	filters, ok := m.filters[key]
	m.mu.RUnlock()
	if !ok {
		filters = resets(k, sub)
		m.mu.Lock()
		m.filters[key] = filters
		m.mu.Unlock()
	}
	c := customConverter{k}
	gvk := k.GVK()
	return managedfields.NewDefaultCRDFieldManager(&remembered{TypeConverter: types}, c, c, c, gvk, gvk.GroupVersion(), sub, filters)
}

// Forget drops what is remembered of a custom kind that is no longer served.
func (m *Manager) Forget(k *kinds.Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.filters {
		if key.kind == k {
			delete(m.filters, key)
		}
	}
}

// contents is the object with its own kind; its fields are shared.
func contents(k *kinds.Kind, obj kinds.Object) (*unstructured.Unstructured, error) {
	o, ok := obj.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("ownership: %T is no object of %s", obj, k.Kind)
	}
	m, err := o.Content(schema.GroupVersion{Group: k.Group, Version: o.Version}.String(), k.Kind)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: m}, nil
}

// objectOf takes u, which it owns, apart.
func objectOf(u *unstructured.Unstructured) (*dynamic.Object, error) {
	o := &dynamic.Object{}
	if meta, ok := u.Object["metadata"].(map[string]any); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(meta, &o.ObjectMeta); err != nil {
			return nil, fmt.Errorf("ownership: metadata: %w", err)
		}
	}
	o.SetContent(u.Object)
	return o, nil
}

// customConverter joins a custom kind to the field manager.
type customConverter struct{ kind *kinds.Kind }

func (c customConverter) Convert(in, out, context any) error {
	return fmt.Errorf("ownership: cannot convert %T into %T", in, out)
}

func (c customConverter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

func (c customConverter) ConvertToVersion(in runtime.Object, gv runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("ownership: cannot convert %T", in)
	}
	from := u.GroupVersionKind()
	to, ok := gv.KindForGroupVersionKinds([]schema.GroupVersionKind{from})
	if !ok {
		return nil, fmt.Errorf("%v is unstructured and is not suitable for converting to %q", from.String(), gv)
	}
	if from == to {
		return in, nil
	}
	o, err := objectOf(u.DeepCopy())
	if err != nil {
		return nil, err
	}
	out, err := c.kind.Custom.Convert(o, to.Version)
	if err != nil {
		return nil, err
	}
	return contents(c.kind, out)
}

func (c customConverter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// Default fills in the defaults of the row's version, which is that of every object
// that the field manager completes.
func (c customConverter) Default(obj runtime.Object) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || c.kind.Default == nil || u.GroupVersionKind() != c.kind.GVK() {
		return
	}
	// Defaults are written into maps that the live object may have too.
	u.Object = runtime.DeepCopyJSON(u.Object)
	fields := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		switch k {
		case "apiVersion", "kind", "metadata":
		default:
			fields[k] = v
		}
	}
	c.kind.Default(&dynamic.Object{Version: c.kind.Version, Fields: fields})
	for k, v := range fields {
		u.Object[k] = v
	}
}

// pathsOf are where a kind's versions have the replicas of a scale.
func pathsOf(k *kinds.Kind) managedfields.ResourcePathMappings {
	out := managedfields.ResourcePathMappings{}
	if k.Custom != nil {
		for gv, names := range k.Custom.ReplicasPaths {
			var path fieldpath.Path
			for _, name := range names {
				path = append(path, fieldpath.PathElement{FieldName: &name})
			}
			out[gv] = path
		}
		return out
	}
	for i := range k.Served {
		gv := schema.GroupVersion{Group: k.Served[i].Group, Version: k.Served[i].Version}
		out[gv.String()] = fieldpath.MakePathOrDie("spec", "replicas")
	}
	return out
}
