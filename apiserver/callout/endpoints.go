package callout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

var (
	services       = schema.GroupResource{Resource: "services"}
	endpointSlices = schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// Endpoints resolves a Service to one of its ready endpoints, so that calls work
// wherever the API server runs, also on a machine that routes no services.
type Endpoints struct {
	Reader func() admission.Reader
}

// Resolve implements Resolver.
func (e Endpoints) Resolve(_ context.Context, s Service) (string, error) {
	r := e.Reader()
	if r == nil {
		return "", fmt.Errorf("service %s/%s cannot be looked up yet", s.Namespace, s.Name)
	}
	obj, ok := r.Object(services, s.Namespace, s.Name)
	if !ok {
		return "", fmt.Errorf("service %q not found", s.Name)
	}
	svc := obj.(*corev1.Service)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return net.JoinHostPort(svc.Spec.ExternalName, strconv.Itoa(int(s.Port))), nil
	}
	name, ok := portName(svc, s.Port)
	if !ok {
		return "", fmt.Errorf("no service port %d found for service %q", s.Port, s.Name)
	}
	var ready []string
	r.Each(endpointSlices, s.Namespace, func(o kinds.Object) bool {
		slice := o.(*discoveryv1.EndpointSlice)
		if slice.Labels[discoveryv1.LabelServiceName] == s.Name && slice.AddressType != discoveryv1.AddressTypeFQDN {
			ready = append(ready, addresses(slice, name)...)
		}
		return true
	})
	if len(ready) == 0 {
		return "", fmt.Errorf("no endpoints available for service %q", s.Name)
	}
	return ready[rand.IntN(len(ready))], nil
}

func portName(svc *corev1.Service, port int32) (string, bool) {
	for i := range svc.Spec.Ports {
		if svc.Spec.Ports[i].Port == port {
			return svc.Spec.Ports[i].Name, true
		}
	}
	return "", false
}

// addresses lists where a slice serves the named port.
func addresses(slice *discoveryv1.EndpointSlice, name string) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Port == nil || (p.Name == nil && name != "") || (p.Name != nil && *p.Name != name) {
			continue
		}
		for _, ep := range slice.Endpoints {
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready {
				continue
			}
			for _, a := range ep.Addresses {
				out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}
