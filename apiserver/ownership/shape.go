package ownership

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Creating an object gives its creator every field that is set. Which fields those
// are depends on the object's shape alone: which fields are zero, the keys of maps,
// and, because lists are merged by their items' keys, the values inside lists. Two
// objects of one shape (the pods of a ReplicaSet) therefore have the same field
// set, and it is computed once.

// shapes remembers field sets by shape. It forgets everything when full.
type shapes struct {
	mu sync.RWMutex
	m  map[string]*metav1.FieldsV1 // nil value: no fields are owned
}

const maxShapes = 2048

// maxShape bounds the shapes that are remembered: objects whose shape is larger
// (definitions of custom resources) are not made again and again.
const maxShape = 16 << 10

func (s *shapes) get(key []byte) (*metav1.FieldsV1, bool) {
	s.mu.RLock()
	f, ok := s.m[string(key)]
	s.mu.RUnlock()
	return f, ok
}

func (s *shapes) put(key []byte, f *metav1.FieldsV1) {
	s.mu.Lock()
	if s.m == nil || len(s.m) >= maxShapes {
		s.m = map[string]*metav1.FieldsV1{}
	}
	s.m[string(key)] = f
	s.mu.Unlock()
}

// appendShape appends the shape of obj; ok is false where it holds something whose
// fields cannot be told from its Go type.
func appendShape(dst []byte, obj runtime.Object) (_ []byte, ok bool) {
	w := shaper{b: dst}
	w.value(reflect.ValueOf(obj).Elem(), false)
	return w.b, !w.opaque
}

type shaper struct {
	b      []byte
	opaque bool
}

var (
	marshaler   = reflect.TypeFor[json.Marshaler]()
	rawType     = reflect.TypeFor[runtime.RawExtension]()
	fieldsType  = reflect.TypeFor[[]metav1.ManagedFieldsEntry]()
	customTypes sync.Map // reflect.Type to bool: it marshals itself
)

func custom(t reflect.Type) bool {
	if v, ok := customTypes.Load(t); ok {
		return v.(bool)
	}
	is := t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)
	customTypes.Store(t, is)
	return is
}

func (w *shaper) bit(set bool) {
	if set {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *shaper) text(s string) {
	w.b = binary.AppendUvarint(w.b, uint64(len(s)))
	w.b = append(w.b, s...)
}

// value appends v; inside lists values count, elsewhere only whether they are
// zero.
func (w *shaper) value(v reflect.Value, listed bool) {
	switch v.Kind() {
	case reflect.Pointer:
		w.bit(!v.IsNil())
		if !v.IsNil() {
			w.value(v.Elem(), listed)
		}
	case reflect.Struct:
		w.structure(v, listed)
	case reflect.Map:
		w.mapping(v, listed)
	case reflect.Slice:
		w.list(v, listed)
	case reflect.String:
		if listed {
			w.text(v.String())
		} else {
			w.bit(v.Len() > 0)
		}
	case reflect.Bool:
		w.bit(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if listed {
			w.b = binary.AppendVarint(w.b, v.Int())
		} else {
			w.bit(v.Int() != 0)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
		w.bit(!v.IsZero())
	default:
		w.opaque = true
	}
}

func (w *shaper) structure(v reflect.Value, listed bool) {
	t := v.Type()
	if t == rawType {
		w.opaque = w.opaque || !v.IsZero()
		return
	}
	if custom(t) {
		w.bit(!v.IsZero())
		if !listed {
			return
		}
		raw, err := json.Marshal(v.Interface())
		w.opaque = w.opaque || err != nil
		w.text(string(raw))
		return
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Type() != fieldsType {
			w.value(f, listed)
		}
	}
}

func (w *shaper) mapping(v reflect.Value, listed bool) {
	w.bit(!v.IsNil())
	if v.Type().Key().Kind() != reflect.String {
		w.opaque = true
		return
	}
	w.b = binary.AppendUvarint(w.b, uint64(v.Len()))
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	keyType, scalar := v.Type().Key(), v.Type().Elem().Kind() == reflect.String
	for _, k := range keys {
		w.text(k)
		if scalar && !listed {
			continue // a value of a map is a leaf, whatever it is
		}
		w.value(v.MapIndex(reflect.ValueOf(k).Convert(keyType)), listed)
	}
}

func (w *shaper) list(v reflect.Value, listed bool) {
	w.bit(!v.IsNil())
	w.b = binary.AppendUvarint(w.b, uint64(v.Len()))
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if listed {
			w.b = append(w.b, v.Bytes()...)
		}
		return
	}
	for i := range v.Len() {
		w.value(v.Index(i), true)
	}
}
