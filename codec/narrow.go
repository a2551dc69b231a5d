package codec

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// narrow applies a strategic merge patch to v, the struct of an object that is the
// caller's own: member by member, so that of a large object only what the patch speaks
// of is taken apart and put together. It reports false where the patch has directives
// ("$patch" and the like) between members, or there is anything to say about it: then v
// is half done, and the patch has to be applied to the whole.
func narrow(v reflect.Value, patch map[string]any) bool {
	for name, value := range patch {
		i, ok := members(v.Type())[name]
		if !ok {
			return false
		}
		field := v.Field(i)
		if below, ok := value.(map[string]any); ok {
			if s := structOf(field); s.IsValid() {
				if !narrow(s, below) {
					return false
				}
				continue
			}
		}
		if !narrowMember(v, i, name, value) {
			return false
		}
	}
	return true
}

// narrowMember applies the patch of one member, by a struct that has nothing else.
func narrowMember(v reflect.Value, i int, name string, value any) bool {
	before, after := reflect.New(v.Type()), reflect.New(v.Type())
	before.Elem().Field(i).Set(v.Field(i))
	doc, err := runtime.DefaultUnstructuredConverter.ToUnstructured(before.Interface())
	if err != nil {
		return false
	}
	alone := map[string]any{}
	if have, ok := doc[name]; ok {
		alone[name] = have
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(alone, map[string]any{name: value}, after.Interface())
	if err != nil {
		return false
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, after.Interface(), true); err != nil {
		return false
	}
	v.Field(i).Set(after.Elem().Field(i))
	return true
}

// structOf is the struct that a member is or points to; not valid where there is none,
// or it has a form of its own in JSON.
func structOf(field reflect.Value) reflect.Value {
	if field.Kind() == reflect.Pointer && !field.IsNil() {
		field = field.Elem()
	}
	if field.Kind() != reflect.Struct || reflect.PointerTo(field.Type()).Implements(marshalerType) || reflect.PointerTo(field.Type()).Implements(unmarshalerType) {
		return reflect.Value{}
	}
	return field
}

var (
	marshalerType   = reflect.TypeFor[json.Marshaler]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

	membersOf sync.Map // of a struct's type: map[string]int
)

// members are the indexes of a struct's fields by name in JSON, without those that are
// inlined.
func members(t reflect.Type) map[string]int {
	if m, ok := membersOf.Load(t); ok {
		return m.(map[string]int)
	}
	m := map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "" && name != "-" {
			m[name] = i
		}
	}
	membersOf.Store(t, m)
	return m
}
