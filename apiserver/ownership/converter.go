package ownership

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// converter joins one kind to apimachinery's field manager: it converts, creates
// and defaults objects that carry their own kind and apiVersion.
type converter struct {
	m    *Manager
	kind *kinds.Kind
}

func (c converter) Convert(in, out, context any) error {
	return fmt.Errorf("ownership: cannot convert %T into %T", in, out)
}

func (c converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// ConvertToVersion gives in the version that gv asks for.
func (c converter) ConvertToVersion(in runtime.Object, gv runtime.GroupVersioner) (runtime.Object, error) {
	target, ok := gv.(schema.GroupVersion)
	if !ok {
		return nil, fmt.Errorf("ownership: cannot convert %T to %v", in, gv)
	}
	// The field manager asks for the hub as the hub's version in the group that the
	// object has, which for an extensions/v1beta1 Deployment is extensions/v1.
	if _, served := c.kind.ServedAs(target); !served && target.Version == c.kind.Version {
		target.Group = c.kind.Group
	}
	have := in.GetObjectKind().GroupVersionKind()
	if u, ok := in.(*unstructured.Unstructured); ok {
		v, ok := c.kind.ServedAs(have.GroupVersion())
		if !ok {
			return nil, fmt.Errorf("ownership: %s has no version %s", c.kind.Kind, have.GroupVersion())
		}
		typed := codec.New(c.kind, v)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
			return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", have, err)
		}
		in = typed
	}
	if have.GroupVersion() == target {
		return in, nil
	}
	hub, err := c.hub(in, have)
	if err != nil {
		return nil, err
	}
	v, ok := c.kind.ServedAs(target)
	if !ok {
		return nil, fmt.Errorf("ownership: %s has no version %s", c.kind.Kind, target)
	}
	out, err := codec.FromHub(v, hub)
	if err != nil {
		return nil, err
	}
	if out == runtime.Object(hub) {
		out = codec.Shallow(out)
	}
	out.GetObjectKind().SetGroupVersionKind(codec.GVK(c.kind, v))
	return out, nil
}

func (c converter) hub(in runtime.Object, have schema.GroupVersionKind) (kinds.Object, error) {
	v, ok := c.kind.ServedAs(have.GroupVersion())
	if !ok {
		return nil, fmt.Errorf("ownership: %s has no version %s", c.kind.Kind, have.GroupVersion())
	}
	if codec.IsHub(v) {
		obj, ok := in.(kinds.Object)
		if !ok {
			return nil, fmt.Errorf("ownership: %T is not an object", in)
		}
		return obj, nil
	}
	return v.ToHub(in)
}

// New makes an object that knows its type.
func (c converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	v, ok := c.kind.ServedAs(gvk.GroupVersion())
	if !ok {
		return nil, fmt.Errorf("ownership: %s has no version %s", c.kind.Kind, gvk.GroupVersion())
	}
	obj := codec.New(c.kind, v)
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default fills in obj's version's defaults.
func (c converter) Default(obj runtime.Object) {
	v, ok := c.kind.ServedAs(obj.GetObjectKind().GroupVersionKind().GroupVersion())
	switch {
	case !ok:
	case !codec.IsHub(v):
		if v.Default != nil {
			v.Default(obj)
		}
	case c.kind.Default != nil:
		if hub, ok := obj.(kinds.Object); ok {
			c.kind.Default(hub)
		}
	}
}

func resetSet(k *kinds.Kind, sub string) *fieldpath.Set {
	var paths []string
	if sub != "" {
		s, ok := k.Subresources[sub]
		if !ok {
			return nil
		}
		paths = s.Reset
		if paths == nil && sub == "status" {
			paths = []string{"spec"}
		}
	} else if k.Reset != nil {
		paths = k.Reset
	} else if _, ok := k.Subresources["status"]; ok {
		paths = []string{"status"}
	}
	if len(paths) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, p := range paths {
		var path fieldpath.Path
		for _, name := range strings.Split(p, ".") {
			path = append(path, fieldpath.PathElement{FieldName: &name})
		}
		set.Insert(path)
	}
	return set
}
