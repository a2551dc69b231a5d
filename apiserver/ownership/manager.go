// Package ownership keeps metadata.managedFields: which manager last set which
// field, and server-side apply, which merges by that. The rules are those of
// apimachinery's managedfields and of structured-merge-diff; this package joins
// them to the kinds table and finds them cheap ways.
package ownership

import (
	"fmt"
	"sync"

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
