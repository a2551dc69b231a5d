package codec

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// GVK is the name of a kind in one of its served forms; v nil is the hub.
func GVK(k *kinds.Kind, v *kinds.Version) schema.GroupVersionKind {
	if v == nil {
		return k.GVK()
	}
	kind := v.Kind
	if kind == "" {
		kind = k.Kind
	}
	return schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: kind}
}

// IsHub tells whether v is the form in which k lives.
func IsHub(v *kinds.Version) bool { return v == nil || v.New == nil }

// New makes an empty object of a served form.
func New(k *kinds.Kind, v *kinds.Version) runtime.Object {
	if IsHub(v) {
		return k.New()
	}
	return v.New()
}

// ToHub turns an object of form v, just decoded, into a hub object with all
// defaults: those of its own version, then the hub's.
func ToHub(k *kinds.Kind, v *kinds.Version, in runtime.Object) (kinds.Object, error) {
	var hub kinds.Object
	if IsHub(v) {
		obj, ok := in.(kinds.Object)
		if !ok {
			return nil, fmt.Errorf("codec: %T is not an object", in)
		}
		hub = obj
	} else {
		if v.Default != nil {
			v.Default(in)
		}
		var err error
		if hub, err = v.ToHub(in); err != nil {
			return nil, err
		}
	}
	hub.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if k.Default != nil {
		k.Default(hub)
	}
	return hub, nil
}

// FromHub gives obj the form v. The result shares parts with obj; its kind and
// apiVersion are empty.
func FromHub(v *kinds.Version, obj kinds.Object) (runtime.Object, error) {
	if IsHub(v) {
		return obj, nil
	}
	out, err := v.FromHub(obj)
	if err != nil {
		return nil, err
	}
	if gvk := out.GetObjectKind().GroupVersionKind(); !gvk.Empty() {
		out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return out, nil
}

// Shallow copies the struct behind obj and shares everything that it points to:
// enough to change a scalar field of metadata.
func Shallow[T runtime.Object](obj T) T {
	v := reflect.ValueOf(obj).Elem()
	n := reflect.New(v.Type())
	n.Elem().Set(v)
	return n.Interface().(T)
}
