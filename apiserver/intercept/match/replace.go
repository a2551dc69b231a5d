package match

import (
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Decode reads doc, an object of the form gvk that a patch made of the request's. With
// codec.Report, unknown fields are an error. The result has no kind and apiVersion.
func (a *Attributes) Decode(gvk schema.GroupVersionKind, doc []byte, s codec.Strict) (runtime.Object, error) {
	var into runtime.Object
	if a.R.View != nil {
		into = reflect.New(reflect.TypeOf(a.R.View).Elem()).Interface().(runtime.Object)
	} else {
		f, err := a.formOf(gvk)
		if err != nil {
			return nil, err
		}
		into = codec.New(f.kind, f.version)
	}
	have, strict, err := codec.DecodeInto(codec.JSON, doc, into, s)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, runtime.NewStrictDecodingError(strict)
	}
	if have != gvk {
		return nil, fmt.Errorf("a patch may not make a %s of a %s", have, gvk)
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return into, nil
}

// Replace puts form, which Decode made, in the place of the request's object, with
// all defaults. It owns form.
func (a *Attributes) Replace(gvk schema.GroupVersionKind, form runtime.Object) error {
	if a.R.View != nil {
		a.R.View = form
		return nil
	}
	f, err := a.formOf(gvk)
	if err != nil {
		return err
	}
	if c := f.kind.Custom; c != nil {
		obj, ok := form.(kinds.Object)
		if !ok {
			return fmt.Errorf("match: %T is no object", form)
		}
		if _, err := c.Coerce(obj, false); err != nil {
			return err
		}
	}
	obj, err := codec.ToHub(f.kind, f.version, form)
	if err != nil {
		return err
	}
	if f.kind != a.R.Kind { // another version of a kind that is defined at run time
		in, err := codec.FromHub(&a.R.Kind.Served[0], obj)
		if err != nil {
			return err
		}
		var ok bool
		if obj, ok = in.(kinds.Object); !ok {
			return errors.New("match: a conversion made no object")
		}
	}
	a.R.Object = obj
	return nil
}
