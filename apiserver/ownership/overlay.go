package ownership

import (
	"reflect"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// overlay writes what is set in from over to, which has one for each: false where
// something would have to be added, or lists be merged that do not match item by
// item. to may have been changed then.
func overlay(s *schema.Schema, t schema.TypeRef, to, from reflect.Value) bool {
	if to.Kind() == reflect.Pointer {
		if from.IsNil() {
			return true
		}
		return !to.IsNil() && overlay(s, t, to.Elem(), from.Elem())
	}
	atom, ok := s.Resolve(t)
	if !ok {
		return false
	}
	switch {
	case atom.List != nil && atom.Map == nil && atom.Scalar == nil && to.Kind() == reflect.Slice && atom.List.ElementRelationship == schema.Associative:
		return overlayList(s, atom.List, to, from)
	case atom.Map != nil && atom.List == nil && atom.Scalar == nil && atom.Map.ElementRelationship != schema.Atomic && !custom(to.Type()):
		switch to.Kind() {
		case reflect.Struct:
			return overlayStruct(s, atom.Map, to, from)
		case reflect.Map:
			return overlayMap(s, atom.Map, to, from)
		}
		return false
	case !to.CanSet() || showsZero(from):
		return false
	}
	to.Set(from)
	return true
}

// showsZero tells whether v has a zero that its JSON shows. A document that leaves
// it out differs from the object that was made of it, as structured-merge-diff sees
// it.
func showsZero(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && showsZero(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return false
		}
		for i := range v.Len() {
			if showsZero(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		e := v.Type().Elem().Kind()
		return e != reflect.String && e != reflect.Bool && !custom(v.Type().Elem())
	case reflect.Struct:
		if custom(v.Type()) {
			return false
		}
		for _, f := range fieldsOf(v.Type()) {
			x := v.Field(f.index)
			if x.IsZero() && (f.omitted || f.inline) {
				continue
			}
			if x.IsZero() || showsZero(x) {
				return true
			}
		}
	}
	return false
}

func overlayStruct(s *schema.Schema, t *schema.Map, to, from reflect.Value) bool {
	for _, f := range fieldsOf(to.Type()) {
		x, y := to.Field(f.index), from.Field(f.index)
		if f.inline {
			if y.Kind() == reflect.Pointer || !overlayStruct(s, t, x, y) {
				return false
			}
			continue
		}
		if y.IsZero() {
			continue
		}
		sf, ok := t.FindField(f.name)
		if !ok || x.IsZero() || !overlay(s, sf.Type, x, y) {
			return false
		}
	}
	return true
}

func overlayMap(s *schema.Schema, t *schema.Map, to, from reflect.Value) bool {
	atom, ok := s.Resolve(t.ElementType)
	if !ok || atom.Scalar == nil || atom.List != nil || atom.Map != nil {
		return false
	}
	for it := from.MapRange(); it.Next(); {
		if !to.MapIndex(it.Key()).IsValid() {
			return false
		}
		to.SetMapIndex(it.Key(), it.Value())
	}
	return true
}

func overlayList(s *schema.Schema, t *schema.List, to, from reflect.Value) bool {
	if to.Len() != from.Len() {
		return false
	}
	if len(t.Keys) == 0 {
		return reflect.DeepEqual(to.Interface(), from.Interface())
	}
	atom, ok := s.Resolve(t.ElementType)
	if !ok || atom.Map == nil || to.Type().Elem().Kind() != reflect.Struct {
		return false
	}
	for i := range to.Len() {
		if !sameItem(t, atom.Map, to.Index(i), from.Index(i)) || !overlay(s, t.ElementType, to.Index(i), from.Index(i)) {
			return false
		}
	}
	return true
}

// sameItem tells whether the keys are the same, where one that from leaves out has
// its default.
func sameItem(t *schema.List, m *schema.Map, to, from reflect.Value) bool {
	for _, name := range t.Keys {
		x, ok1 := keyOf(to, name)
		y, ok2 := keyOf(from, name)
		if !ok1 || !ok2 {
			return false
		}
		if y.IsZero() {
			f, ok := m.FindField(name)
			def, isText := f.Default.(string)
			if !ok || !isText || x.Kind() != reflect.String || x.String() != def {
				return false
			}
			continue
		}
		if !x.Equal(y) {
			return false
		}
	}
	return true
}
