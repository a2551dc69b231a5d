//lint:file-ignore SA1019 what is deprecated is served still

package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validateEndpoints(ep *v1.Endpoints) field.ErrorList {
	var l rules.List
	for i := range ep.Subsets {
		s, path := &ep.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			l.Required(path, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			endpointAddress(&l, &s.Addresses[j], path.Child("addresses").Index(j))
		}
		for j := range s.NotReadyAddresses {
			endpointAddress(&l, &s.NotReadyAddresses[j], path.Child("notReadyAddresses").Index(j))
		}
		for j := range s.Ports {
			endpointPort(&l, &s.Ports[j], len(s.Ports) > 1, path.Child("ports").Index(j))
		}
	}
	return l.Errors()
}

// validateEndpointsUpdate lets what was there before be as it is.
func validateEndpointsUpdate(ep, old *v1.Endpoints) field.ErrorList {
	errs := validateEndpoints(ep)
	if len(errs) > 0 && equality.Semantic.DeepEqual(ep.Subsets, old.Subsets) {
		return nil
	}
	return errs
}

func endpointAddress(l *rules.List, a *v1.EndpointAddress, path *field.Path) {
	l.Add(rules.IP(a.IP, path.Child("ip"))...)
	if a.Hostname != "" {
		l.Add(rules.DNSLabelField(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		l.Name(path.Child("nodeName"), *a.NodeName, rules.DNSSubdomain)
	}
	l.Add(rules.EndpointIP(a.IP, path.Child("ip"))...)
}

func endpointPort(l *rules.List, p *v1.EndpointPort, named bool, path *field.Path) {
	if named && p.Name == "" {
		l.Required(path.Child("name"), "")
	} else if p.Name != "" {
		l.Add(rules.DNSLabelField(p.Name, path.Child("name"))...)
	}
	l.Add(rules.Port(p.Port, path.Child("port"))...)
	rules.SupportedOrRequired(l, path.Child("protocol"), p.Protocol, v1.ProtocolSCTP, v1.ProtocolTCP, v1.ProtocolUDP)
	if p.AppProtocol != nil {
		l.Add(rules.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
}
