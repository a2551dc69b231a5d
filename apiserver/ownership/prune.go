package ownership

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
)

// A field that an update did not touch changes nobody's ownership. prune takes such
// fields out of both objects, so that only what differs is compared field by field.
// live and obj are copies of the top; what they point to is not changed. same is
// true when nothing differs.
func prune(live, obj runtime.Object) (same bool) {
	a, b := reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem()
	if a.Type() != b.Type() {
		return false
	}
	return pruneStruct(a, b)
}

func pruneStruct(a, b reflect.Value) bool {
	same := true
	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		t := x.Type()
		if t == fieldsType || !x.CanSet() {
			continue
		}
		if t.Kind() == reflect.Struct && !custom(t) {
			if !pruneStruct(x, y) {
				same = false
			}
			continue
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			same = false
			continue
		}
		if !x.IsZero() {
			x.SetZero()
			y.SetZero()
		}
	}
	return same
}

// identity puts back what the field manager wants to know of an object.
func identity(to metav1.Object, from kinds.Object) {
	to.SetName(from.GetName())
	to.SetNamespace(from.GetNamespace())
	to.SetUID(from.GetUID())
	to.SetResourceVersion(from.GetResourceVersion())
}
