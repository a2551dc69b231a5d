package rules

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Internal wraps a value for a message. Kubernetes judges its internal types, which
// have no JSON names, and shows a bad struct as JSON with the names of the Go type's
// fields, nothing left out.
func Internal(v any) any { return internal{v} }

type internal struct{ v any }

// MarshalJSON writes the value with the names of its Go fields.
func (i internal) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeInternal(&b, reflect.ValueOf(i.v))
	return b.Bytes(), err
}

var (
	marshaler   = reflect.TypeFor[json.Marshaler]()
	metaType    = reflect.TypeFor[metav1.ObjectMeta]()
	podSpecType = reflect.TypeFor[corev1.PodSpec]()
)

func writeInternal(b *bytes.Buffer, v reflect.Value) error {
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
		return writeInternal(b, v.Elem())
	case v.Type().Implements(marshaler), reflect.PointerTo(v.Type()).Implements(marshaler),
		strings.HasPrefix(v.Type().PkgPath(), "k8s.io/apimachinery/"):
		return writePlain(b, v) // the same type inside of Kubernetes and outside
	case v.Type() == podSpecType:
		return writePodSpec(b, v)
	case arranged[v.Type()] != nil:
		w := fieldWriter{b: b}
		return w.object(func() error { return w.named(v, arranged[v.Type()]) })
	case v.Kind() == reflect.Struct:
		w := fieldWriter{b: b}
		return w.object(func() error { return w.all(v) })
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 && !v.IsNil():
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
	}
	return writePlain(b, v)
}

// fieldWriter writes the fields of one JSON object.
type fieldWriter struct {
	b    *bytes.Buffer
	more bool // a comma comes before the next
}

func (w *fieldWriter) object(fields func() error) error {
	w.b.WriteByte('{')
	err := fields()
	w.b.WriteByte('}')
	return err
}

// all writes every field; those of an embedded struct stand among them, as JSON has
// it.
func (w *fieldWriter) all(v reflect.Value) error {
	if names := arranged[v.Type()]; names != nil {
		return w.named(v, names)
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type == metaType && f.Anonymous {
			if err := w.plain(v.Field(i)); err != nil {
				return err
			}
			continue
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if err := w.all(v.Field(i)); err != nil {
				return err
			}
			continue
		}
		if err := w.field(f.Name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// plain writes the members that the JSON of an embedded struct has.
func (w *fieldWriter) plain(v reflect.Value) error {
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return err
	}
	members := bytes.TrimSuffix(bytes.TrimPrefix(raw, []byte("{")), []byte("}"))
	if len(members) == 0 {
		return nil
	}
	if w.more {
		w.b.WriteByte(',')
	}
	w.more = true
	w.b.Write(members)
	return nil
}

// named writes some fields in the order given.
func (w *fieldWriter) named(v reflect.Value, names []string) error {
	for _, name := range names {
		if err := w.field(name, v.FieldByName(name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *fieldWriter) field(name string, v reflect.Value) error {
	if w.more {
		w.b.WriteByte(',')
	}
	w.more = true
	w.b.WriteString(`"` + name + `":`)
	return writeInternal(w.b, v)
}

func writePlain(b *bytes.Buffer, v reflect.Value) error {
	raw, err := json.Marshal(v.Interface())
	b.Write(raw)
	return err
}
