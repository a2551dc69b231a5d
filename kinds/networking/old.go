package networking

import (
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Old forms of Ingress name a backend by serviceName and servicePort, and the
// default backend plainly backend; a path without pathType is
// ImplementationSpecific (pkg/apis/networking/v1beta1 in Kubernetes).

func oldIngress() []kinds.Version {
	c := convert.New(
		convert.After(func(in *networkingv1beta1.IngressBackend, out *networkingv1.IngressBackend) error {
			out.Service = toService(in.ServiceName, in.ServicePort)
			return nil
		}),
		convert.After(func(in *networkingv1.IngressBackend, out *networkingv1beta1.IngressBackend) error {
			out.ServiceName, out.ServicePort = fromService(in.Service)
			return nil
		}),
		convert.After(func(in *networkingv1beta1.IngressSpec, out *networkingv1.IngressSpec) error {
			if b := in.Backend; b != nil {
				out.DefaultBackend = &networkingv1.IngressBackend{Resource: b.Resource, Service: toService(b.ServiceName, b.ServicePort)}
			}
			return nil
		}),
		convert.After(func(in *networkingv1.IngressSpec, out *networkingv1beta1.IngressSpec) error {
			if b := in.DefaultBackend; b != nil {
				out.Backend = &networkingv1beta1.IngressBackend{Resource: b.Resource}
				out.Backend.ServiceName, out.Backend.ServicePort = fromService(b.Service)
			}
			return nil
		}),
		convert.After(func(in *extensionsv1beta1.IngressBackend, out *networkingv1.IngressBackend) error {
			out.Service = toService(in.ServiceName, in.ServicePort)
			return nil
		}),
		convert.After(func(in *networkingv1.IngressBackend, out *extensionsv1beta1.IngressBackend) error {
			out.ServiceName, out.ServicePort = fromService(in.Service)
			return nil
		}),
		convert.After(func(in *extensionsv1beta1.IngressSpec, out *networkingv1.IngressSpec) error {
			if b := in.Backend; b != nil {
				out.DefaultBackend = &networkingv1.IngressBackend{Resource: b.Resource, Service: toService(b.ServiceName, b.ServicePort)}
			}
			return nil
		}),
		convert.After(func(in *networkingv1.IngressSpec, out *extensionsv1beta1.IngressSpec) error {
			if b := in.DefaultBackend; b != nil {
				out.Backend = &extensionsv1beta1.IngressBackend{Resource: b.Resource}
				out.Backend.ServiceName, out.Backend.ServicePort = fromService(b.Service)
			}
			return nil
		}),
	)
	return []kinds.Version{
		convert.Old[networkingv1.Ingress, networkingv1beta1.Ingress, networkingv1beta1.IngressList](c, networkingv1beta1.SchemeGroupVersion, "Ingress", func(i *networkingv1beta1.Ingress) {
			for r := range i.Spec.Rules {
				if http := i.Spec.Rules[r].HTTP; http != nil {
					for p := range http.Paths {
						if http.Paths[p].PathType == nil {
							http.Paths[p].PathType = ptr.To(networkingv1beta1.PathTypeImplementationSpecific)
						}
					}
				}
			}
		}),
		convert.Old[networkingv1.Ingress, extensionsv1beta1.Ingress, extensionsv1beta1.IngressList](c, extensionsv1beta1.SchemeGroupVersion, "Ingress", func(i *extensionsv1beta1.Ingress) {
			for r := range i.Spec.Rules {
				if http := i.Spec.Rules[r].HTTP; http != nil {
					for p := range http.Paths {
						if http.Paths[p].PathType == nil {
							http.Paths[p].PathType = ptr.To(extensionsv1beta1.PathTypeImplementationSpecific)
						}
					}
				}
			}
		}),
	}
}

func toService(name string, port intstr.IntOrString) *networkingv1.IngressServiceBackend {
	if name == "" && port == (intstr.IntOrString{}) {
		return nil
	}
	return &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Name: port.StrVal, Number: port.IntVal}}
}

func fromService(s *networkingv1.IngressServiceBackend) (string, intstr.IntOrString) {
	if s == nil {
		return "", intstr.IntOrString{}
	}
	if s.Port.Name != "" {
		return s.Name, intstr.FromString(s.Port.Name)
	}
	return s.Name, intstr.FromInt32(s.Port.Number)
}

func oldIngressClass() []kinds.Version {
	return []kinds.Version{convert.Old[networkingv1.IngressClass, networkingv1beta1.IngressClass, networkingv1beta1.IngressClassList](
		convert.New(), networkingv1beta1.SchemeGroupVersion, "IngressClass", nil)}
}

func oldNetworkPolicy() []kinds.Version {
	return []kinds.Version{convert.Old[networkingv1.NetworkPolicy, extensionsv1beta1.NetworkPolicy, extensionsv1beta1.NetworkPolicyList](
		convert.New(), extensionsv1beta1.SchemeGroupVersion, "NetworkPolicy", nil)}
}
