package row

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Untagged makes a value show in an error as Kubernetes shows its internal types:
// as JSON with the names of Go fields, nothing left out.
func Untagged(v any) json.Marshaler { return untagged{v} }

type untagged struct{ v any }

func (u untagged) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeUntagged(&b, reflect.ValueOf(u.v))
	return b.Bytes(), err
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func writeUntagged(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		return writeUntagged(b, v.Elem())
	case v.Type().Implements(marshaler), reflect.PointerTo(v.Type()).Implements(marshaler),
		strings.HasPrefix(v.Type().PkgPath(), "k8s.io/apimachinery/"):
		return writeJSON(b, v) // the same type inside of Kubernetes and outside
	case v.Kind() == reflect.Struct:
		return writeStruct(b, v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 && !v.IsNil():
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeUntagged(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return writeJSON(b, v)
}

func writeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	err := writeFields(b, v, &first)
	b.WriteByte('}')
	return err
}

// writeFields writes what is embedded beside the rest, as JSON does.
func writeFields(b *bytes.Buffer, v reflect.Value, first *bool) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if err := writeFields(b, v.Field(i), first); err != nil {
				return err
			}
			continue
		}
		if !*first {
			b.WriteByte(',')
		}
		*first = false
		name, _ := json.Marshal(f.Name)
		b.Write(name)
		b.WriteByte(':')
		if err := writeUntagged(b, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(b *bytes.Buffer, v reflect.Value) error {
	raw, err := json.Marshal(v.Interface())
	b.Write(raw)
	return err
}
