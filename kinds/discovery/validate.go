package discovery

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/discovery/validation in Kubernetes.

const (
	maxTopology  = 16
	maxAddresses = 100
	maxPorts     = 20000
	maxEndpoints = 1000
	maxHints     = 8
)

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	return validateSlice(s, nil)
}

func validateEndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	return append(validateSlice(s, old), rules.Immutable(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
}

func validateSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("addressType")
	switch s.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
	case "":
		errs = append(errs, field.Required(at, ""))
	default:
		errs = append(errs, field.NotSupported(at, s.AddressType, []discoveryv1.AddressType{
			discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}))
	}
	errs = append(errs, validatePorts(s.Ports, field.NewPath("ports"))...)
	// Endpoints that later rules would refuse may stay as they are.
	if old == nil || !row.Same(old.Endpoints, s.Endpoints) {
		errs = append(errs, validateEndpoints(s.Endpoints, s.AddressType, field.NewPath("endpoints"))...)
	}
	return errs
}

func validatePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxPorts)}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name != "" {
			errs = append(errs, rules.DNSLabelField(name, at.Child("name"))...)
		}
		if seen[name] {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		seen[name] = true
		switch {
		case p.Protocol == nil:
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		case *p.Protocol != corev1.ProtocolTCP && *p.Protocol != corev1.ProtocolUDP && *p.Protocol != corev1.ProtocolSCTP:
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}))
		}
		if p.AppProtocol != nil {
			errs = append(errs, rules.QualifiedName(*p.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}

func validateEndpoints(endpoints []discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	if len(endpoints) > maxEndpoints {
		return field.ErrorList{field.TooMany(path, len(endpoints), maxEndpoints)}
	}
	var errs field.ErrorList
	for i := range endpoints {
		errs = append(errs, validateEndpoint(&endpoints[i], t, path.Index(i))...)
	}
	return errs
}

func validateEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	addresses := path.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	} else if len(e.Addresses) > maxAddresses {
		errs = append(errs, field.TooMany(addresses, len(e.Addresses), maxAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateAddress(a, t, addresses, i)...)
	}
	if e.NodeName != nil {
		errs = append(errs, row.Messages(*e.NodeName, rules.DNSSubdomain(*e.NodeName, false), path.Child("nodeName"))...)
	}
	topology := path.Child("deprecatedTopology")
	if len(e.DeprecatedTopology) > maxTopology {
		errs = append(errs, field.TooMany(topology, len(e.DeprecatedTopology), maxTopology))
	}
	errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, topology)...)
	if _, found := e.DeprecatedTopology[corev1.LabelTopologyZone]; found {
		errs = append(errs, field.InternalError(topology.Key(corev1.LabelTopologyZone), fmt.Errorf("reserved key was not removed in conversion")))
	}
	if e.Hostname != nil {
		errs = append(errs, rules.DNSLabelField(*e.Hostname, path.Child("hostname"))...)
	}
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

func validateAddress(a string, t discoveryv1.AddressType, path *field.Path, i int) field.ErrorList {
	switch t {
	case discoveryv1.AddressTypeFQDN:
		return utilvalidation.IsFullyQualifiedDomainName(path.Index(i), a)
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		return nil
	}
	if errs := utilvalidation.IsValidIP(path.Index(i), a); len(errs) > 0 {
		return errs
	}
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return nil
	}
	var errs field.ErrorList
	if ip.Is4() != (t == discoveryv1.AddressTypeIPv4) {
		errs = append(errs, field.Invalid(path, a, fmt.Sprintf("must be an %s address", t)))
	}
	return append(errs, rules.EndpointIP(a, path.Index(i))...)
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	if n := len(h.ForZones); n > maxHints {
		return field.ErrorList{field.TooMany(path.Child("forZones"), n, maxHints)}
	}
	var errs field.ErrorList
	var seen []string
	for i, z := range h.ForZones {
		at := path.Child("forZones").Index(i).Child("name")
		if slices.Contains(seen, z.Name) {
			errs = append(errs, field.Duplicate(at, z.Name))
		}
		seen = append(seen, z.Name)
		errs = append(errs, row.Messages(z.Name, utilvalidation.IsValidLabelValue(z.Name), at)...)
	}
	if n := len(h.ForNodes); n > maxHints {
		return append(errs, field.TooMany(path.Child("forNodes"), n, maxHints))
	}
	seen = nil
	for i, z := range h.ForNodes {
		at := path.Child("forNodes").Index(i).Child("name")
		if slices.Contains(seen, z.Name) {
			errs = append(errs, field.Duplicate(at, z.Name))
		}
		seen = append(seen, z.Name)
		errs = append(errs, row.Messages(z.Name, rules.DNSSubdomain(z.Name, false), at)...)
	}
	return errs
}
