package admit

import (
	"context"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

// DefaultStorageClass names the default class in claims that name none.
type DefaultStorageClass struct{ reader }

// Name implements admission.Plugin.
func (*DefaultStorageClass) Name() string { return "DefaultStorageClass" }

// Admit implements admission.Mutator.
func (d *DefaultStorageClass) Admit(_ context.Context, r *admission.Request) error {
	c, ok := r.Object.(*v1.PersistentVolumeClaim)
	if !ok || !is(r, "", "persistentvolumeclaims", admission.Create) || c.Spec.StorageClassName != nil {
		return nil
	}
	if _, old := c.Annotations[v1.BetaStorageClassAnnotation]; old {
		return nil
	}
	if name := newestDefault(d, storageClasses, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"); name != "" {
		c.Spec.StorageClassName = &name
	}
	return nil
}

// DefaultIngressClass names the default class in ingresses that name none.
type DefaultIngressClass struct{ reader }

// Name implements admission.Plugin.
func (*DefaultIngressClass) Name() string { return "DefaultIngressClass" }

// Admit implements admission.Mutator.
func (d *DefaultIngressClass) Admit(_ context.Context, r *admission.Request) error {
	i, ok := r.Object.(*networkingv1.Ingress)
	if !ok || !is(r, networkingGroup, "ingresses", admission.Create) || i.Spec.IngressClassName != nil {
		return nil
	}
	if _, old := i.Annotations["kubernetes.io/ingress.class"]; old {
		return nil
	}
	if name := newestDefault(d, ingressClasses, networkingv1.AnnotationIsDefaultIngressClass); name != "" {
		i.Spec.IngressClassName = &name
	}
	return nil
}

// newestDefault is the newest class that an annotation marks, of two of one age the
// first by name; "" if there is none.
func newestDefault(r admission.Reader, gr schema.GroupResource, annotations ...string) string {
	var best kinds.Object
	r.Each(gr, "", func(o kinds.Object) bool {
		marked := false
		for _, a := range annotations {
			marked = marked || o.GetAnnotations()[a] == "true"
		}
		if !marked {
			return true
		}
		if best == nil || o.GetCreationTimestamp().UnixNano() > best.GetCreationTimestamp().UnixNano() {
			best = o
		}
		return true
	})
	if best == nil {
		return ""
	}
	return best.GetName()
}
