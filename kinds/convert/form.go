package convert

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// Old is an old form of a kind. H and O are the structs of hub and old form, L is
// the old form's list. defaults may be nil. The converted object has no apiVersion
// and kind of its own: the codec writes them.
func Old[H, O, L any, PH interface {
	*H
	kinds.Object
}, PO interface {
	*O
	runtime.Object
}, PL interface {
	*L
	runtime.Object
}](c *Converter, gv schema.GroupVersion, kind string, defaults func(*O)) kinds.Version {
	v := Current[H, O, L, PH, PO, PL](c, gv, defaults)
	v.Old = true
	v.Deprecated = Deprecation(gv.WithKind(kind), v.New())
	return v
}

// Current is Old of a form that is still served by Kubernetes.
func Current[H, O, L any, PH interface {
	*H
	kinds.Object
}, PO interface {
	*O
	runtime.Object
}, PL interface {
	*L
	runtime.Object
}](c *Converter, gv schema.GroupVersion, defaults func(*O)) kinds.Version {
	v := kinds.Version{
		Group: gv.Group, Version: gv.Version,
		New:     func() runtime.Object { return PO(new(O)) },
		NewList: func() runtime.Object { return PL(new(L)) },
		ToHub: func(in runtime.Object) (kinds.Object, error) {
			old, ok := in.(PO)
			if !ok {
				return nil, fmt.Errorf("convert %T: want %T", in, PO(nil))
			}
			hub := PH(new(H))
			if err := c.Convert((*O)(old), (*H)(hub)); err != nil {
				return nil, err
			}
			hub.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			return hub, nil
		},
		FromHub: func(in kinds.Object) (runtime.Object, error) {
			hub, ok := in.(PH)
			if !ok {
				return nil, fmt.Errorf("convert %T: want %T", in, PH(nil))
			}
			old := PO(new(O))
			if err := c.Convert((*H)(hub), (*O)(old)); err != nil {
				return nil, err
			}
			old.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
			return old, nil
		},
	}
	if defaults != nil {
		v.Default = func(obj runtime.Object) { defaults((*O)(obj.(PO))) }
	}
	return v
}

// Deprecation words the Warning header of an old form from what its Go type says
// of its life, as k8s.io/apiserver/pkg/endpoints/deprecation does; "" where it says
// nothing.
func Deprecation(gvk schema.GroupVersionKind, obj any) string {
	d, ok := obj.(interface {
		APILifecycleDeprecated() (major, minor int)
	})
	if !ok {
		return ""
	}
	major, minor := d.APILifecycleDeprecated()
	if major == 0 && minor == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", gvk.GroupVersion(), gvk.Kind, major, minor)
	if r, ok := obj.(interface {
		APILifecycleRemoved() (major, minor int)
	}); ok {
		if major, minor := r.APILifecycleRemoved(); major != 0 || minor != 0 {
			text += fmt.Sprintf(", unavailable in v%d.%d+", major, minor)
		}
	}
	if r, ok := obj.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}); ok {
		if to := r.APILifecycleReplacement(); !to.Empty() {
			text += fmt.Sprintf("; use %s %s", to.GroupVersion(), to.Kind)
		}
	}
	return text
}

// same converts what has the same fields in both versions.
var same = New()

// Review is an old form of a kind that says the same in both and is only posted: it is
// never listed, so the type of its lists is of no account. H and O are as in Old.
func Review[H, O any, PH interface {
	*H
	kinds.Object
}, PO interface {
	*O
	runtime.Object
}](gv schema.GroupVersion, kind string) []kinds.Version {
	return []kinds.Version{Old[H, O, metav1.List, PH, PO](same, gv, kind, nil)}
}
