package ownership

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Most writes change the values of fields that their writer owns already: a status,
// a lease, a document that is applied again. The field sets then stay what they
// are; only the time of the writer's entry is new. This file finds such writes
// without structured-merge-diff.

// typeOf is what a kind's schema says; ok is false for those without one.
func (m *Manager) typeOf(k *kinds.Kind) (knownType, bool) {
	if m.once.Do(m.load); m.err != nil {
		return knownType{}, false
	}
	if v, ok := m.known.Load(k); ok {
		t := v.(knownType)
		return t, t.schema != nil
	}
	t := knownType{ignored: map[string]map[string]bool{}}
	if tv, err := m.types.known.ObjectToTyped(m.typed(k, k.New())); err == nil {
		if atom, ok := tv.Schema().Resolve(tv.TypeRef()); ok && atom.Map != nil && atom.List == nil && atom.Scalar == nil && len(atom.Map.Fields) > 0 {
			t.schema, t.ref = tv.Schema(), tv.TypeRef()
		}
	}
	for sub := range k.Subresources {
		t.ignored[sub] = topFields(resetSet(k, sub))
	}
	t.ignored[""] = topFields(resetSet(k, ""))
	m.known.Store(k, t)
	return t, t.schema != nil
}

type knownType struct {
	schema  *schema.Schema
	ref     schema.TypeRef
	ignored map[string]map[string]bool // by subresource; nil: unknown
}

// topFields are the fields of the object that set is made of; nil where it is made
// of others.
func topFields(set *fieldpath.Set) map[string]bool {
	out := map[string]bool{}
	if set == nil {
		return out
	}
	if set.Children.Size() > 0 {
		return nil
	}
	set.Members.Iterate(func(e fieldpath.PathElement) {
		if e.FieldName != nil {
			out[*e.FieldName] = true
		}
	})
	return out
}

// update notes a change of values by their owner; live and obj are pruned, entries
// are live's. done is false where more has happened.
func (m *Manager) update(k *kinds.Kind, sub string, live, obj runtime.Object, entries []metav1.ManagedFieldsEntry, manager string) (out []metav1.ManagedFieldsEntry, done bool) {
	t, ok := m.typeOf(k)
	if !ok || t.ignored[sub] == nil || len(entries) == 0 {
		return nil, false
	}
	c := comparer{schema: t.schema, ignored: t.ignored[sub], path: make(fieldpath.Path, 0, 12)}
	if !c.compare(t.ref, reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem()) {
		return nil, false
	}
	if len(c.changed) == 0 {
		return entries, true
	}
	own := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: gvOf(k), Subresource: sub}
	at, ok := m.only(entries, &own, c.changed)
	if !ok {
		return nil, false
	}
	set := m.sets.get(entries[at].FieldsV1)
	for _, p := range c.changed {
		if !set.Has(p) {
			return nil, false
		}
	}
	return touched(entries, at), true
}

func gvOf(k *kinds.Kind) string { return codec.GVK(k, nil).GroupVersion().String() }

// only finds own's entry; ok is false where it is missing, or another one has one of
// the paths or is not to be understood.
func (m *Manager) only(entries []metav1.ManagedFieldsEntry, own *metav1.ManagedFieldsEntry, paths []fieldpath.Path) (at int, ok bool) {
	at = -1
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != own.APIVersion || e.FieldsType != "FieldsV1" || len(entries) > 10 {
			return 0, false
		}
		set := m.sets.get(e.FieldsV1)
		if set == nil {
			return 0, false
		}
		if e.Manager == own.Manager && e.Operation == own.Operation && e.Subresource == own.Subresource {
			if at >= 0 {
				return 0, false
			}
			at = i
			continue
		}
		for _, p := range paths {
			if set.Has(p) {
				return 0, false
			}
		}
	}
	return at, at >= 0
}

// touched is entries with a new time of one, in apimachinery's order.
func touched(entries []metav1.ManagedFieldsEntry, at int) []metav1.ManagedFieldsEntry {
	out := slices.Clone(entries)
	now := metav1.NewTime(time.Now().UTC())
	out[at].Time = &now
	seconds := func(e *metav1.ManagedFieldsEntry) int64 {
		if e.Time == nil {
			return 0
		}
		return e.Time.Unix()
	}
	slices.SortFunc(out, func(p, q metav1.ManagedFieldsEntry) int {
		switch a, b := seconds(&p), seconds(&q); {
		case p.Operation != q.Operation:
			return strings.Compare(string(p.Operation), string(q.Operation))
		case a != b:
			return int(min(max(a-b, -1), 1))
		case p.Manager != q.Manager:
			return strings.Compare(p.Manager, q.Manager)
		case p.APIVersion != q.APIVersion:
			return strings.Compare(p.APIVersion, q.APIVersion)
		}
		return strings.Compare(p.Subresource, q.Subresource)
	})
	return out
}

// outlineOf names the outline of an applied document; nil where it is no ordinary
// one.
func (m *Manager) outlineOf(k *kinds.Kind, v *kinds.Version, sub string, live kinds.Object, patch runtime.Object, manager string) []byte {
	doc, isDoc := patch.(*unstructured.Unstructured)
	if !isDoc || !codec.IsHub(v) || manager == "kubectl" && live.GetAnnotations()[corev1.LastAppliedConfigAnnotation] != "" {
		return nil
	}
	t, ok := m.typeOf(k)
	if !ok || t.ignored[sub] == nil || doc.GroupVersionKind() != codec.GVK(k, nil) {
		return nil
	}
	for name := range doc.Object {
		if t.ignored[sub][name] {
			return nil
		}
	}
	if meta, ok := doc.Object["metadata"].(map[string]any); ok {
		for name := range meta {
			if stripped[name] && name != "name" && name != "namespace" {
				return nil
			}
		}
	}
	o := outline{schema: t.schema, b: make([]byte, 0, 512)}
	o.text(k.Group)
	o.text(k.Kind)
	o.text(sub)
	if !o.of(t.ref, doc.Object) {
		return nil
	}
	return o.b
}

// reapply merges a document that its manager has applied before with other values;
// name is its outline.
func (m *Manager) reapply(k *kinds.Kind, sub string, live kinds.Object, patch runtime.Object, manager string, name []byte) (kinds.Object, bool) {
	fields, ok := m.outlines.get(name)
	if !ok {
		return nil, false
	}
	t, _ := m.typeOf(k)
	entries := live.GetManagedFields()
	from := k.New()
	if runtime.DefaultUnstructuredConverter.FromUnstructured(patch.(*unstructured.Unstructured).Object, from) != nil {
		return nil, false
	}
	from.GetObjectKind().SetGroupVersionKind(live.GetObjectKind().GroupVersionKind())
	if n := from.GetName(); n != "" && n != live.GetName() || from.GetNamespace() != "" && from.GetNamespace() != live.GetNamespace() {
		return nil, false
	}
	obj := live.DeepCopyObject().(kinds.Object)
	obj.SetManagedFields(nil)
	if !overlay(t.schema, t.ref, reflect.ValueOf(obj).Elem(), reflect.ValueOf(from).Elem()) {
		return nil, false
	}
	c := comparer{schema: t.schema, path: make(fieldpath.Path, 0, 12)}
	if !c.compare(t.ref, reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem()) {
		return nil, false
	}
	own := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: gvOf(k), Subresource: sub}
	at, ok := m.only(entries, &own, c.changed)
	if !ok || entries[at].FieldsV1.GetRawString() != fields.GetRawString() {
		return nil, false
	}
	if len(c.changed) == 0 {
		obj.SetManagedFields(entries)
		return obj, true
	}
	if k.Default != nil {
		k.Default(obj)
	}
	obj.SetManagedFields(touched(entries, at))
	return obj, true
}

// remember keeps what an applied document of an outline owns.
func (m *Manager) remember(name []byte, obj kinds.Object, sub, manager string) {
	for _, e := range obj.GetManagedFields() {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == sub && e.FieldsV1 != nil {
			m.outlines.put(name, e.FieldsV1)
		}
	}
}

// sets remembers decoded field sets. It forgets everything when full.
type sets struct {
	mu sync.RWMutex
	m  map[string]*fieldpath.Set
}

const maxSets = 1024

// get decodes fields; nil if they cannot be. Nobody may change the set.
func (s *sets) get(fields *metav1.FieldsV1) *fieldpath.Set {
	if fields == nil {
		return nil
	}
	raw := fields.GetRawString()
	s.mu.RLock()
	set, ok := s.m[raw]
	s.mu.RUnlock()
	if ok {
		return set
	}
	set = &fieldpath.Set{}
	if set.FromJSON(strings.NewReader(raw)) != nil {
		set = nil
	}
	s.mu.Lock()
	if s.m == nil || len(s.m) >= maxSets {
		s.m = map[string]*fieldpath.Set{}
	}
	s.m[raw] = set
	s.mu.Unlock()
	return set
}
