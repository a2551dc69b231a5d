// Package ownership keeps metadata.managedFields: which manager last set which
// field, and server-side apply, which merges by that. The rules are those of
// apimachinery's managedfields and of structured-merge-diff; this package joins
// them to the kinds table and finds them cheap ways.
package ownership

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Manager computes managed fields for every kind. The schemas of all built-in
// types are parsed on the first write that needs them.
type Manager struct {
	scheme *runtime.Scheme
	find   func(schema.GroupVersionKind) (*kinds.Kind, bool)

	once  sync.Once
	types managedfields.TypeConverter

	shapes shapes

	mu       sync.RWMutex
	managers map[form]*managedfields.FieldManager
}

type form struct {
	kind    *kinds.Kind
	version *kinds.Version
	sub     string
}

// New makes a Manager. scheme must hold the types of all served forms; find is
// the table's.
func New(scheme *runtime.Scheme, find func(schema.GroupVersionKind) (*kinds.Kind, bool)) *Manager {
	return &Manager{scheme: scheme, find: find, managers: map[form]*managedfields.FieldManager{}}
}

// Update sets obj's managed fields after manager changed live into obj through
// form v and subresource sub. Both are hub objects; obj is changed.
func (m *Manager) Update(k *kinds.Kind, v *kinds.Version, sub string, live, obj kinds.Object, manager string) kinds.Object {
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
	if !ok {
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

// load parses the schemas of all built-in types.
func (m *Manager) load() { m.types = applyconfigurations.NewTypeConverter(m.scheme) }

func (m *Manager) fieldManager(k *kinds.Kind, v *kinds.Version, sub string) (*managedfields.FieldManager, error) {
	if codec.IsHub(v) {
		v = nil
	}
	key := form{k, v, sub}
	m.mu.RLock()
	fm := m.managers[key]
	m.mu.RUnlock()
	if fm != nil {
		return fm, nil
	}
	m.once.Do(m.load)
	c := converter{m: m, kind: k}
	hub := schema.GroupVersion{Group: k.Group, Version: k.Version}
	fm, err := managedfields.NewDefaultFieldManager(m.types, c, c, c, codec.GVK(k, v), hub, sub, resets(k, sub))
	if err != nil {
		return nil, fmt.Errorf("ownership: %s: %w", k.Kind, err)
	}
	m.mu.Lock()
	m.managers[key] = fm
	m.mu.Unlock()
	return fm, nil
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
