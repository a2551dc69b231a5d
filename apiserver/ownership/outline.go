package ownership

import (
	"encoding/binary"
	"fmt"
	"slices"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// The fields that an applied document owns follow from its outline: the names of
// its fields and the keys of its lists' items, not the values of leaves. Two
// documents of one outline have the same field set.

// outline writes the outline of a document that is right by its schema and has no
// value that is zero: those are not told apart from what is missing in a Go object.
type outline struct {
	schema *schema.Schema
	b      []byte
	quiet  int // within what is owned as a whole
}

// of appends the outline of v; false: the document is wrong or unusual.
func (o *outline) of(t schema.TypeRef, v any) bool {
	atom, ok := o.schema.Resolve(t)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		return atom.Map != nil && atom.Scalar == nil && atom.List == nil && len(v) > 0 && o.mapping(atom.Map, v)
	case []any:
		return atom.List != nil && atom.Scalar == nil && atom.Map == nil && len(v) > 0 && o.list(atom.List, v)
	case string:
		return v != "" && scalar(atom, schema.String)
	case bool:
		return v && scalar(atom, schema.Boolean)
	case int64:
		return v != 0 && scalar(atom, schema.Numeric)
	}
	return false
}

func scalar(a schema.Atom, want schema.Scalar) bool {
	return a.Scalar != nil && a.List == nil && a.Map == nil && (*a.Scalar == want || *a.Scalar == schema.Untyped)
}

func (o *outline) text(s string) {
	if o.quiet == 0 {
		o.b = binary.AppendUvarint(o.b, uint64(len(s)))
		o.b = append(o.b, s...)
	}
}

func (o *outline) count(n int) {
	if o.quiet == 0 {
		o.b = binary.AppendUvarint(o.b, uint64(n))
	}
}

func (o *outline) mapping(t *schema.Map, m map[string]any) bool {
	if t.ElementRelationship == schema.Atomic {
		o.quiet++
		defer func() { o.quiet-- }()
	}
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	if o.quiet == 0 {
		slices.Sort(names)
	}
	o.count(len(names))
	for _, k := range names {
		o.text(k)
		child := t.ElementType
		if f, ok := t.FindField(k); ok {
			child = f.Type
		} else if len(t.Fields) > 0 {
			return false
		}
		if !o.of(child, m[k]) {
			return false
		}
	}
	return true
}

func (o *outline) list(t *schema.List, l []any) bool {
	if t.ElementRelationship == schema.Atomic {
		o.quiet++
		defer func() { o.quiet-- }()
	}
	o.count(len(l))
	for _, item := range l {
		if t.ElementRelationship == schema.Associative {
			if len(t.Keys) == 0 {
				o.text(fmt.Sprint(item))
			}
			for _, k := range t.Keys {
				m, ok := item.(map[string]any)
				if !ok {
					return false
				}
				if v, ok := m[k]; ok {
					o.text(fmt.Sprint(v))
				} else {
					o.count(0) // the key's default, if it has one
				}
			}
		}
		if !o.of(t.ElementType, item) {
			return false
		}
	}
	return true
}
