// Package ownership keeps metadata.managedFields: which manager last set which
// field, and server-side apply, which merges by that. The rules are those of
// apimachinery's managedfields and of structured-merge-diff; this package joins
// them to the kinds table and finds them cheap ways.
package ownership

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	builtin "skiff.dev/skiff/apiserver/openapi/typed"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Manager computes managed fields for every kind. The schemas of all built-in
// types are parsed on the first write that needs them.
type Manager struct {
	scheme *runtime.Scheme
	find   func(schema.GroupVersionKind) (*kinds.Kind, bool)

	once  sync.Once
	err   error // of loading types
	types types
	known sync.Map // *kinds.Kind to knownType

	shapes   shapes // of created objects
	outlines shapes // of applied documents
	sets     sets

	mu      sync.RWMutex
	filters map[form]map[fieldpath.APIVersion]fieldpath.Filter
}

type form struct {
	kind    *kinds.Kind
	version *kinds.Version
	sub     string
}

// New makes a Manager. scheme must hold the types of all served forms; find is
// the table's.
func New(scheme *runtime.Scheme, find func(schema.GroupVersionKind) (*kinds.Kind, bool)) *Manager {
	return &Manager{scheme: scheme, find: find, filters: map[form]map[fieldpath.APIVersion]fieldpath.Filter{}}
}

// Update sets obj's managed fields after manager changed live into obj through
// form v and subresource sub. Both are hub objects; obj is changed.
func (m *Manager) Update(k *kinds.Kind, v *kinds.Version, sub string, live, obj kinds.Object, manager string) kinds.Object {
	if k.Custom != nil {
		return m.updateCustom(k, sub, live, obj, manager)
	}
	if live.GetUID() == "" && len(obj.GetManagedFields()) == 0 {
		return m.create(k, v, sub, live, obj, manager)
	}
	return m.change(k, v, sub, live, obj, manager)
}

// create gives the creator all fields of a new object.
func (m *Manager) create(k *kinds.Kind, v *kinds.Version, sub string, live, obj kinds.Object, manager string) kinds.Object {
	if !codec.IsHub(v) || obj.GetManagedFields() != nil {
		return m.slow(k, v, sub, live, obj, manager)
	}
	key := make([]byte, 0, 1024)
	key = append(key, k.Group...)
	key = append(key, 0)
	key = append(key, k.Kind...)
	key = append(key, 0)
	key = append(key, sub...)
	key = append(key, 0)
	key, ok := appendShape(key, obj)
	if !ok || len(key) > maxShape {
		return m.slow(k, v, sub, live, obj, manager)
	}
	fields, ok := m.shapes.get(key)
	if !ok {
		out := m.slow(k, v, sub, live, obj, manager)
		switch own := out.GetManagedFields(); len(own) {
		case 0:
			m.shapes.put(key, nil)
		case 1:
			m.shapes.put(key, own[0].FieldsV1)
		}
		return out
	}
	if fields == nil {
		obj.SetManagedFields(nil)
		return obj
	}
	now := metav1.NewTime(time.Now().UTC())
	obj.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate,
		APIVersion: codec.GVK(k, nil).GroupVersion().String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: fields, Subresource: sub,
	}})
	return obj
}

// change compares only what differs between live and obj.
func (m *Manager) change(k *kinds.Kind, v *kinds.Version, sub string, live, obj kinds.Object, manager string) kinds.Object {
	if !codec.IsHub(v) {
		return m.slow(k, v, sub, live, obj, manager)
	}
	a, b := codec.Shallow(live), codec.Shallow(obj)
	same := prune(a, b)
	if same && (sub != "" || obj.GetManagedFields() == nil || sameEntries(obj.GetManagedFields(), live.GetManagedFields())) {
		obj.SetManagedFields(live.GetManagedFields())
		return obj
	}
	if ours := obj.GetManagedFields(); sub != "" || ours == nil || sameEntries(ours, live.GetManagedFields()) {
		if entries, done := m.update(k, sub, a, b, live.GetManagedFields(), manager); done {
			obj.SetManagedFields(entries)
			return obj
		}
	}
	identity(a, live)
	identity(b, obj)
	out := m.slow(k, v, sub, a, b, manager)
	obj.SetManagedFields(out.GetManagedFields())
	return obj
}

// sameEntries tells whether a client sent back the managed fields that it got.
func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	return len(a) > 0 && equality.Semantic.DeepEqual(a, b)
}

// slow asks apimachinery's field manager.
func (m *Manager) slow(k *kinds.Kind, v *kinds.Version, sub string, live, obj kinds.Object, manager string) kinds.Object {
	fm, err := m.fieldManager(k, v, sub)
	if err != nil {
		obj.SetManagedFields(nil)
		return obj
	}
	out := fm.UpdateNoErrors(m.typed(k, live), m.typed(k, obj), manager).(kinds.Object)
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out
}

// typed gives a copy of the top of obj that knows its own type, as the field
// manager wants it.
func (m *Manager) typed(k *kinds.Kind, obj kinds.Object) runtime.Object {
	c := codec.Shallow(obj)
	c.GetObjectKind().SetGroupVersionKind(k.GVK())
	return c
}

// Apply merges patch, an object of form v, into live and returns a new hub
// object. A conflict is an *apierrors.StatusError.
func (m *Manager) Apply(k *kinds.Kind, v *kinds.Version, sub string, live kinds.Object, patch runtime.Object, manager string, force bool) (kinds.Object, error) {
	if k.Custom != nil {
		return m.applyCustom(k, sub, live, patch, manager, force)
	}
	name := m.outlineOf(k, v, sub, live, patch, manager)
	if name != nil {
		if obj, done := m.reapply(k, sub, live, patch, manager, name); done {
			return obj, nil
		}
	}
	obj, err := m.merge(k, v, sub, live, patch, manager, force)
	if err == nil && name != nil {
		m.remember(name, obj, sub, manager)
	}
	return obj, err
}

// merge asks apimachinery's field manager.
func (m *Manager) merge(k *kinds.Kind, v *kinds.Version, sub string, live kinds.Object, patch runtime.Object, manager string, force bool) (kinds.Object, error) {
	fm, err := m.fieldManager(k, v, sub)
	if err != nil {
		return nil, err
	}
	out, err := fm.Apply(m.typed(k, live), patch, manager, force)
	if err != nil {
		return nil, err
	}
	obj, ok := out.(kinds.Object)
	if !ok {
		return nil, fmt.Errorf("ownership: apply made a %T", out)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj, nil
}

// Types makes typed values of objects of k; of views and built-in kinds where k is nil.
func (m *Manager) Types(k *kinds.Kind) (managedfields.TypeConverter, error) {
	if k != nil && k.Custom != nil {
		return typesOf(k)
	}
	m.once.Do(m.load)
	return m.types, m.err
}

// load reads the schemas of all built-in types.
func (m *Manager) load() {
	var known managedfields.TypeConverter
	known, m.err = builtin.Converter(m.scheme)
	m.types = types{known, managedfields.NewDeducedTypeConverter()}
}

// types knows the built-in types from their schemas, and deduces those of others
// (reviews, API services, custom resource definitions) from the object: there
// every list is one value.
type types struct{ known, deduced managedfields.TypeConverter }

func (t types) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	v, err := t.known.ObjectToTyped(obj, opts...)
	if err != nil && strings.Contains(err.Error(), "no type found matching") {
		return t.deduced.ObjectToTyped(obj, opts...)
	}
	return v, err
}

func (t types) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	return t.known.TypedToObject(v)
}

// fieldManager makes a field manager for one write.
func (m *Manager) fieldManager(k *kinds.Kind, v *kinds.Version, sub string) (*managedfields.FieldManager, error) {
	if codec.IsHub(v) {
		v = nil
	}
	if m.once.Do(m.load); m.err != nil {
		return nil, m.err
	}
	key := form{k, v, sub}
	m.mu.RLock()
	filters, ok := m.filters[key]
	m.mu.RUnlock()
	if !ok {
		filters = resets(k, sub)
		m.mu.Lock()
		m.filters[key] = filters
		m.mu.Unlock()
	}
	c := converter{m: m, kind: k}
	hub := schema.GroupVersion{Group: k.Group, Version: k.Version}
	fm, err := managedfields.NewDefaultFieldManager(&remembered{TypeConverter: m.types}, c, c, c, codec.GVK(k, v), hub, sub, filters)
	if err != nil {
		return nil, fmt.Errorf("ownership: %s: %w", k.Kind, err)
	}
	return fm, nil
}

// remembered is a TypeConverter for one write. The field manager turns the same
// objects into typed values and back for every manager that owns something;
// remembering the pairs spares all but the first.
type remembered struct {
	managedfields.TypeConverter
	objs []runtime.Object
	vals []*typed.TypedValue
}

func (r *remembered) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if len(opts) == 0 { // what a client applies is judged strictly, and once
		return r.TypeConverter.ObjectToTyped(obj)
	}
	for i := range r.objs {
		if r.objs[i] == obj {
			return r.vals[i], nil
		}
	}
	v, err := r.TypeConverter.ObjectToTyped(obj, opts...)
	if err == nil {
		r.objs, r.vals = append(r.objs, obj), append(r.vals, v)
	}
	return v, err
}

func (r *remembered) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	for i := range r.vals {
		if r.vals[i] == v {
			return r.objs[i], nil
		}
	}
	return r.TypeConverter.TypedToObject(v)
}

// resets are the fields that a write through sub never owns: what the
// subresource lists; for the object itself, its status where that has a path of
// its own.
func resets(k *kinds.Kind, sub string) map[fieldpath.APIVersion]fieldpath.Filter {
	set := resetSet(k, sub)
	if set == nil {
		return nil
	}
	out := map[fieldpath.APIVersion]fieldpath.Filter{}
	for i := range k.Served {
		gv := schema.GroupVersion{Group: k.Served[i].Group, Version: k.Served[i].Version}
		out[fieldpath.APIVersion(gv.String())] = fieldpath.NewExcludeSetFilter(set)
	}
	return out
}
