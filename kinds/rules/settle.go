package rules

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"skiff.dev/skiff/kinds"
)

// Settle is the Kind.Settle of objects of type t, a struct: an empty list or map
// becomes none where its JSON tells the two apart, as in what Kubernetes reads back
// from its store, which is protobuf. nil: t has no such field.
func Settle(t reflect.Type) func(obj kinds.Object) {
	s := settlers{}
	s.of(t)
	if !s.does(t, map[reflect.Type]bool{}) {
		return nil
	}
	// What is where is found out when the first object comes.
	steps := sync.OnceValue(func() []settleStep { return s.steps(t) })
	return func(obj kinds.Object) { settle(reflect.ValueOf(obj).Elem(), steps()) }
}

// settleStep is a field to look at.
type settleStep struct {
	field int
	empty bool // becomes none when it is empty
	in    func() []settleStep
}

// settlers knows, of each struct that may be met, the fields that are lists or maps
// and are written though they are empty, and those that lead to such.
type settlers map[reflect.Type][]settleField

type settleField struct {
	index int
	empty bool
	leads reflect.Type // the struct in it, if any
}

var jsonMarshaler = reflect.TypeFor[json.Marshaler]()

func (s settlers) of(t reflect.Type) {
	if _, known := s[t]; known {
		return
	}
	s[t] = nil
	var fields []settleField
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Name == "ObjectMeta" || f.Name == "TypeMeta" {
			continue
		}
		c := settleField{index: i, leads: structIn(f.Type)}
		if k := f.Type.Kind(); (k == reflect.Slice || k == reflect.Map) && !bytesType(f.Type) {
			_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			c.empty = !strings.Contains(options, "omitempty")
		}
		if c.leads != nil {
			s.of(c.leads)
		}
		fields = append(fields, c)
	}
	s[t] = fields
}

// does tells whether there is anything to do in a struct.
func (s settlers) does(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	for _, f := range s[t] {
		if f.empty || f.leads != nil && s.does(f.leads, seen) {
			return true
		}
	}
	return false
}

// steps are those of one struct; what is in its fields follows when it is met, since
// types may contain themselves.
func (s settlers) steps(t reflect.Type) []settleStep {
	var out []settleStep
	for _, f := range s[t] {
		leads := f.leads != nil && s.does(f.leads, map[reflect.Type]bool{})
		if !f.empty && !leads {
			continue
		}
		step := settleStep{field: f.index, empty: f.empty}
		if leads {
			step.in = sync.OnceValue(func() []settleStep { return s.steps(f.leads) })
		}
		out = append(out, step)
	}
	return out
}

func bytesType(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

// structIn is the struct that a type is, points to or lists, unless that has a JSON
// of its own. Values of maps are not looked into.
func structIn(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler) {
		return nil
	}
	return t
}

func settle(v reflect.Value, steps []settleStep) {
	for i := range steps {
		step := &steps[i]
		f := v.Field(step.field)
		if step.empty && f.Len() == 0 {
			// What is shared with other objects is settled, and not written.
			if !f.IsNil() {
				f.SetZero()
			}
			continue
		}
		if step.in != nil {
			settleIn(f, step.in)
		}
	}
}

func settleIn(v reflect.Value, in func() []settleStep) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			settleIn(v.Elem(), in)
		}
	case reflect.Slice:
		for i := range v.Len() {
			settleIn(v.Index(i), in)
		}
	case reflect.Struct:
		settle(v, in())
	}
}
