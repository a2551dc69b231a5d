package rules

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Internal wraps a struct of k8s.io/api for a message. Kubernetes judges its
// internal types, which have no JSON names, and shows a bad struct as JSON with the
// names and all the fields of the Go type.
func Internal(v any) any { return internal{v} }

type internal struct{ v any }

// MarshalJSON writes the struct with the names of its Go fields.
func (i internal) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeInternal(&b, reflect.ValueOf(i.v))
	return b.Bytes(), err
}

// writeInternal writes v. What is not of k8s.io/api is written as it writes itself.
func writeInternal(b *bytes.Buffer, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		return writeInternal(b, v.Elem())
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return writePlain(b, v)
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeInternal(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case reflect.Struct:
		if !strings.HasPrefix(v.Type().PkgPath(), "k8s.io/api/") {
			return writePlain(b, v)
		}
		b.WriteByte('{')
		if _, err := writeFields(b, v, false); err != nil {
			return err
		}
		b.WriteByte('}')
		return nil
	}
	return writePlain(b, v)
}

// writeFields writes the fields of a struct; those of an embedded one stand among
// them. More says that a comma comes before the first.
func writeFields(b *bytes.Buffer, v reflect.Value, more bool) (bool, error) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && strings.HasPrefix(f.Type.PkgPath(), "k8s.io/api/") {
			var err error
			if more, err = writeFields(b, v.Field(i), more); err != nil {
				return more, err
			}
			continue
		}
		if more {
			b.WriteByte(',')
		}
		more = true
		b.WriteString(`"` + f.Name + `":`)
		if err := writeInternal(b, v.Field(i)); err != nil {
			return more, err
		}
	}
	return more, nil
}

func writePlain(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	data, err := json.Marshal(v.Interface())
	b.Write(data)
	return err
}
