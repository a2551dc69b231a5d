package share

import (
	"bytes"
	"maps"
	"reflect"
	"sync"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
)

var (
	plansMu sync.Mutex
	plans   sync.Map // reflect.Type to *plan: complete ones alone
)

var (
	timeType     = reflect.TypeFor[time.Time]()
	bytesType    = reflect.TypeFor[[]byte]()
	stringsType  = reflect.TypeFor[map[string]string]()
	resourceType = reflect.TypeFor[corev1.ResourceList]()
)

// pointers are what two interfaces to pointers of one type point to, with the plan
// of it; a nil plan says that they are not that.
func pointers[T any](a, b *T) (x, y unsafe.Pointer, p *plan) {
	v, w := reflect.ValueOf(*a), reflect.ValueOf(*b)
	if v.Kind() != reflect.Pointer || !w.IsValid() || v.Type() != w.Type() || v.IsNil() || w.IsNil() {
		return nil, nil, nil
	}
	return v.UnsafePointer(), w.UnsafePointer(), planOf(v.Type())
}

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	plansMu.Lock()
	defer plansMu.Unlock()
	b := builder{}
	p := b.plan(t)
	for t, p := range b {
		plans.LoadOrStore(t, p)
	}
	return p
}

// builder makes the plans of a type and of all that it holds; types may hold
// themselves.
type builder map[reflect.Type]*plan

func (b builder) plan(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if p, ok := b[t]; ok {
		return p
	}
	p := &plan{size: t.Size()}
	b[t] = p
	switch {
	case t == timeType:
		p.flat = true
		p.equal = func(a, b unsafe.Pointer) bool { return *(*time.Time)(a) == *(*time.Time)(b) }
	case t.ConvertibleTo(bytesType) && t.Kind() == reflect.Slice:
		p.equal = func(a, b unsafe.Pointer) bool {
			x, y := *(*[]byte)(a), *(*[]byte)(b)
			return (x == nil) == (y == nil) && bytes.Equal(x, y)
		}
		p.share = func(out, old unsafe.Pointer) {
			take(p, out, old, func(p unsafe.Pointer) *[]byte { return (*[]byte)(p) })
		}
	case t.ConvertibleTo(stringsType):
		p.equal = func(a, b unsafe.Pointer) bool {
			x, y := *(*map[string]string)(a), *(*map[string]string)(b)
			return (x == nil) == (y == nil) && maps.Equal(x, y)
		}
		p.share = shareStrings
	case t == resourceType:
		p.equal = func(a, b unsafe.Pointer) bool {
			x, y := *(*corev1.ResourceList)(a), *(*corev1.ResourceList)(b)
			return (x == nil) == (y == nil) && maps.Equal(x, y)
		}
		p.share = func(out, old unsafe.Pointer) {
			take(p, out, old, func(p unsafe.Pointer) *corev1.ResourceList { return (*corev1.ResourceList)(p) })
		}
	default:
		b.byKind(p, t)
	}
	if p.flat {
		p.share = func(_, _ unsafe.Pointer) {}
	}
	return p
}

// take shares a value whole or not at all.
func take[T any](p *plan, out, old unsafe.Pointer, as func(unsafe.Pointer) *T) {
	if p.equal(out, old) {
		*as(out) = *as(old)
	}
}

func (b builder) byKind(p *plan, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		p.equal = func(a, b unsafe.Pointer) bool { return *(*string)(a) == *(*string)(b) }
		p.share = func(out, old unsafe.Pointer) {
			if *(*string)(out) == *(*string)(old) {
				*(*string)(out) = *(*string)(old)
			}
		}
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		// The bits are compared: two NaNs are the same value, two zeros are not.
		p.flat = true
		size := p.size
		p.equal = func(a, b unsafe.Pointer) bool {
			return string(unsafe.Slice((*byte)(a), size)) == string(unsafe.Slice((*byte)(b), size))
		}
	case reflect.Pointer:
		b.pointer(p, t)
	case reflect.Slice:
		b.slice(p, t)
	case reflect.Struct:
		b.structure(p, t)
	case reflect.Map:
		p.equal = func(a, b unsafe.Pointer) bool {
			return reflect.DeepEqual(reflect.NewAt(t, a).Elem().Interface(), reflect.NewAt(t, b).Elem().Interface())
		}
		p.share = func(out, old unsafe.Pointer) {
			if p.equal(out, old) {
				*(*unsafe.Pointer)(out) = *(*unsafe.Pointer)(old)
			}
		}
	default:
		// Interfaces and arrays: the same only where both are empty, never shared.
		p.flat = true
		p.equal = func(a, b unsafe.Pointer) bool {
			return reflect.NewAt(t, a).Elem().IsZero() && reflect.NewAt(t, b).Elem().IsZero()
		}
	}
}

func (b builder) pointer(p *plan, t reflect.Type) {
	elem, inner := b.plan(t.Elem()), t.Elem()
	p.equal = func(a, b unsafe.Pointer) bool {
		x, y := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
		return x == y || x != nil && y != nil && elem.equal(x, y)
	}
	p.share = func(out, old unsafe.Pointer) {
		x, y := *(*unsafe.Pointer)(out), *(*unsafe.Pointer)(old)
		switch {
		case x == y || x == nil || y == nil:
		case elem.equal(x, y):
			*(*unsafe.Pointer)(out) = y
		case !elem.flat:
			fresh := reflect.New(inner)
			fresh.Elem().Set(reflect.NewAt(inner, x).Elem())
			elem.share(fresh.UnsafePointer(), y)
			*(*unsafe.Pointer)(out) = fresh.UnsafePointer()
		}
	}
	p.copy = func(obj, like unsafe.Pointer) any {
		fresh := reflect.New(inner)
		fresh.Elem().Set(reflect.NewAt(inner, obj).Elem())
		elem.share(fresh.UnsafePointer(), like)
		return fresh.Interface()
	}
}

// header is a slice as the runtime has it.
type header struct {
	data     unsafe.Pointer
	len, cap int
}

func (b builder) slice(p *plan, t reflect.Type) {
	elem, size := b.plan(t.Elem()), t.Elem().Size()
	p.equal = func(a, b unsafe.Pointer) bool {
		x, y := (*header)(a), (*header)(b)
		if x.len != y.len || (x.data == nil) != (y.data == nil) {
			return false
		}
		if x.data == y.data {
			return true
		}
		for i := range x.len {
			if !elem.equal(unsafe.Add(x.data, uintptr(i)*size), unsafe.Add(y.data, uintptr(i)*size)) {
				return false
			}
		}
		return true
	}
	p.share = func(out, old unsafe.Pointer) {
		x, y := (*header)(out), (*header)(old)
		switch {
		case x.data == y.data && x.len == y.len:
		case p.equal(out, old):
			x.data, x.len, x.cap = y.data, y.len, y.len
		case elem.flat && x.len == x.cap, x.len == 0:
		default:
			// A copy of the right size: what was appended to has room to spare.
			fresh := reflect.MakeSlice(t, x.len, x.len)
			reflect.Copy(fresh, reflect.NewAt(t, out).Elem())
			x.data, x.cap = fresh.UnsafePointer(), x.len
			for i := range min(x.len, y.len) {
				elem.share(unsafe.Add(x.data, uintptr(i)*size), unsafe.Add(y.data, uintptr(i)*size))
			}
		}
	}
}

type part struct {
	at uintptr
	*plan
}

func (b builder) structure(p *plan, t reflect.Type) {
	var parts, shared []part
	for i := range t.NumField() {
		f := t.Field(i)
		x := part{f.Offset, b.plan(f.Type)}
		parts = append(parts, x)
		if !x.flat {
			shared = append(shared, x)
		}
	}
	p.flat = len(shared) == 0
	p.equal = func(a, b unsafe.Pointer) bool {
		for i := range parts {
			if x := &parts[i]; !x.equal(unsafe.Add(a, x.at), unsafe.Add(b, x.at)) {
				return false
			}
		}
		return true
	}
	p.share = func(out, old unsafe.Pointer) {
		for i := range shared {
			x := &shared[i]
			x.share(unsafe.Add(out, x.at), unsafe.Add(old, x.at))
		}
	}
}

// shareStrings keeps the keys and values that both maps have once, also where the
// maps differ.
func shareStrings(out, old unsafe.Pointer) {
	x, y := *(*map[string]string)(out), *(*map[string]string)(old)
	switch {
	case len(x) == 0 || len(y) == 0:
		return
	case maps.Equal(x, y):
		*(*map[string]string)(out) = y
		return
	}
	fresh := make(map[string]string, len(x))
	for k, v := range y {
		if w, ok := x[k]; !ok {
			continue
		} else if w != v {
			v = w
		}
		fresh[k] = v
	}
	for k, v := range x {
		if _, ok := fresh[k]; !ok {
			fresh[k] = v
		}
	}
	*(*map[string]string)(out) = fresh
}
