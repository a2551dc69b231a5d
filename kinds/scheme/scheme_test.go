package scheme_test

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
)

// Every form that the table serves must be decodable by its group, version and
// kind into the type that the table makes.
func TestEveryServedFormIsRegistered(t *testing.T) {
	table := all.Table()
	s := scheme.For(table)
	for _, k := range table.All() {
		for _, v := range k.Served {
			kind := k.Kind
			if v.Kind != "" {
				kind = v.Kind
			}
			gvk := schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: kind}
			obj, err := s.New(gvk)
			if err != nil {
				t.Errorf("%v: %v", gvk, err)
				continue
			}
			want := reflect.Type(nil)
			if v.New != nil {
				want = reflect.TypeOf(v.New())
			} else if k.New != nil {
				want = reflect.TypeOf(k.New())
			}
			if reflect.TypeOf(obj) != want {
				t.Errorf("%v is %T in the scheme and %v in the table", gvk, obj, want)
			}
			if k.NewList != nil {
				if _, err := s.New(gvk.GroupVersion().WithKind(kind + "List")); err != nil {
					t.Errorf("%v: %v", gvk, err)
				}
			}
		}
	}
}

func BenchmarkNew(b *testing.B) {
	table := all.Table()
	for b.Loop() {
		scheme.For(table)
	}
}
