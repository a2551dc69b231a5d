package ownership

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// A comparer finds the leaves whose values differ between two objects of one Go
// type, by the schema of the type. It knows nothing of leaves that come or go: there
// it gives up, and structured-merge-diff has the word.
type comparer struct {
	schema *schema.Schema
	// ignored are fields of the object that count for nothing.
	ignored map[string]bool
	path    fieldpath.Path
	changed []fieldpath.Path
}

// stripped are the fields of metadata that nobody owns (apimachinery's
// stripMetaManager).
var stripped = map[string]bool{
	"name": true, "namespace": true, "creationTimestamp": true, "selfLink": true, "uid": true,
	"clusterName": true, "generation": true, "managedFields": true, "resourceVersion": true,
}

// compare is true if a and b, not pointers, differ in the values of leaves alone,
// which changed then lists.
func (c *comparer) compare(t schema.TypeRef, a, b reflect.Value) bool {
	for a.Kind() == reflect.Pointer {
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		if a.Pointer() == b.Pointer() {
			return true
		}
		a, b = a.Elem(), b.Elem()
	}
	atom, ok := c.schema.Resolve(t)
	if !ok {
		return false
	}
	switch {
	case atom.Scalar != nil && atom.List == nil && atom.Map == nil:
		return c.leaf(a, b)
	case atom.List != nil && atom.Scalar == nil && atom.Map == nil && a.Kind() == reflect.Slice && !custom(a.Type()):
		return c.list(atom.List, a, b)
	case atom.Map != nil && atom.Scalar == nil && atom.List == nil && !custom(a.Type()):
		switch {
		case atom.Map.ElementRelationship == schema.Atomic:
			return c.leaf(a, b)
		case a.Kind() == reflect.Struct:
			return c.structure(atom.Map, a, b)
		case a.Kind() == reflect.Map:
			return c.mapping(atom.Map, a, b)
		}
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// leaf compares what changes as a whole.
func (c *comparer) leaf(a, b reflect.Value) bool {
	if !sameLeaf(a, b) {
		c.changed = append(c.changed, c.path.Copy())
	}
	return true
}

func sameLeaf(a, b reflect.Value) bool {
	if !custom(a.Type()) {
		switch a.Kind() {
		case reflect.String:
			return a.String() == b.String()
		case reflect.Bool:
			return a.Bool() == b.Bool()
		case reflect.Int32, reflect.Int64:
			return a.Int() == b.Int()
		}
	}
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return true
	}
	x, err1 := json.Marshal(a.Interface())
	y, err2 := json.Marshal(b.Interface())
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func (c *comparer) structure(t *schema.Map, a, b reflect.Value) bool {
	fields := fieldsOf(a.Type())
	for i := range fields {
		f := &fields[i]
		x, y := a.Field(f.index), b.Field(f.index)
		if f.inline {
			for x.Kind() == reflect.Pointer { // none is known in the API
				return false
			}
			if !c.structure(t, x, y) {
				return false
			}
			continue
		}
		if len(c.path) == 0 && c.ignored[f.name] || len(c.path) == 1 && stripped[f.name] && *c.path[0].FieldName == "metadata" {
			continue
		}
		if zx, zy := x.IsZero(), y.IsZero(); zx || zy {
			if zx != zy {
				return false
			}
			continue
		}
		sf, ok := t.FindField(f.name)
		if !ok {
			if !reflect.DeepEqual(x.Interface(), y.Interface()) {
				return false
			}
			continue
		}
		c.path = append(c.path, f.element)
		ok = c.compare(sf.Type, x, y)
		c.path = c.path[:len(c.path)-1]
		if !ok {
			return false
		}
	}
	return true
}

func (c *comparer) mapping(t *schema.Map, a, b reflect.Value) bool {
	if a.Len() != b.Len() || a.Type().Key().Kind() != reflect.String || len(t.Fields) > 0 {
		return false
	}
	for it := a.MapRange(); it.Next(); {
		x, y := it.Value(), b.MapIndex(it.Key())
		if !y.IsValid() {
			return false
		}
		if x.Kind() == reflect.String && x.String() == y.String() {
			continue
		}
		name := it.Key().String()
		c.path = append(c.path, fieldpath.PathElement{FieldName: &name})
		ok := c.compare(t.ElementType, x, y)
		c.path = c.path[:len(c.path)-1]
		if !ok {
			return false
		}
	}
	return true
}

func (c *comparer) list(t *schema.List, a, b reflect.Value) bool {
	switch {
	case a.Len() == 0 || b.Len() == 0:
		return a.Len() == b.Len()
	case t.ElementRelationship == schema.Atomic:
		return c.leaf(a, b)
	case t.ElementRelationship != schema.Associative || len(t.Keys) == 0 || a.Type().Elem().Kind() != reflect.Struct:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	case a.Len() != b.Len():
		return false
	}
	for i := range a.Len() {
		x, y := a.Index(i), b.Index(i)
		if !sameKeys(t, x, y) {
			return false
		}
		before, depth := len(c.changed), len(c.path)
		c.path = append(c.path, fieldpath.PathElement{})
		ok := c.compare(t.ElementType, x, y)
		c.path = c.path[:depth]
		if !ok {
			return false
		}
		if before == len(c.changed) {
			continue
		}
		element, ok := c.item(t, a, i)
		if !ok {
			return false
		}
		for _, p := range c.changed[before:] {
			p[depth] = element
		}
	}
	return true
}

// item is the path element of an item; ok is false where it is not the only one
// of its keys.
func (c *comparer) item(t *schema.List, list reflect.Value, i int) (e fieldpath.PathElement, ok bool) {
	for j := range list.Len() {
		if j != i && sameKeys(t, list.Index(i), list.Index(j)) {
			return e, false
		}
	}
	atom, ok := c.schema.Resolve(t.ElementType)
	if !ok || atom.Map == nil {
		return e, false
	}
	keys := make(value.FieldList, 0, len(t.Keys))
	for _, name := range t.Keys {
		v, ok := keyOf(list.Index(i), name)
		if !ok {
			return e, false
		}
		var key any
		switch {
		case v.IsZero():
			sf, ok := atom.Map.FindField(name)
			if !ok || sf.Default == nil {
				return e, false
			}
			key = sf.Default
		case v.Kind() == reflect.String:
			key = v.String()
		case v.CanInt():
			key = v.Int()
		default:
			return e, false
		}
		keys = append(keys, value.Field{Name: name, Value: value.NewValueInterface(key)})
	}
	keys.Sort()
	return fieldpath.PathElement{Key: &keys}, true
}

func sameKeys(t *schema.List, a, b reflect.Value) bool {
	for _, name := range t.Keys {
		x, ok1 := keyOf(a, name)
		y, ok2 := keyOf(b, name)
		if !ok1 || !ok2 || !x.Equal(y) {
			return false
		}
	}
	return true
}

// keyOf is the field that is a key of a list's item; only strings and numbers are.
func keyOf(item reflect.Value, name string) (reflect.Value, bool) {
	for _, f := range fieldsOf(item.Type()) {
		if f.name == name && !f.inline {
			v := item.Field(f.index)
			return v, !custom(v.Type()) && (v.Kind() == reflect.String || v.CanInt())
		}
	}
	return reflect.Value{}, false
}

// goField is a field of a Go struct as JSON knows it.
type goField struct {
	index   int
	name    string
	inline  bool
	omitted bool // when zero
	element fieldpath.PathElement
}

var goFields sync.Map // reflect.Type to []goField

func fieldsOf(t reflect.Type) []goField {
	if v, ok := goFields.Load(t); ok {
		return v.([]goField)
	}
	var out []goField
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-":
			continue
		case f.Anonymous && name == "" || options == "inline":
			out = append(out, goField{index: i, inline: true})
			continue
		case name == "":
			name = f.Name
		}
		omitted := strings.Contains(options, "omitempty") && f.Type.Kind() != reflect.Struct || strings.Contains(options, "omitzero")
		out = append(out, goField{index: i, name: name, omitted: omitted, element: fieldpath.PathElement{FieldName: &name}})
	}
	goFields.Store(t, out)
	return out
}
