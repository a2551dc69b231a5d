// Package discovery holds the kinds of the group discovery.k8s.io: where the pods
// of a service are. See package kinds for the table that this is a part of.
package discovery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(endpointSlice(), rules.MetaFull),
	}
}

func endpointSlice() *kinds.Kind {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return row.Fill[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](discoveryv1.SchemeGroupVersion, &kinds.Kind{
		Resource:       "endpointslices",
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultEndpointSlice),
		PrepareCreate:  rules.Do(func(s *discoveryv1.EndpointSlice) { dropTopology(s, nil) }),
		PrepareUpdate:  rules.Do2(dropTopology),
		Generation:     rules.Differ(sliceChanged),
		Validate:       rules.Check(validateEndpointSlice),
		ValidateUpdate: rules.Check2(validateEndpointSliceUpdate),
		Warnings:       rules.Warn(warnEndpointSlice),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("AddressType", doc["addressType"]),
			rules.Column("Ports", doc["ports"]),
			rules.Column("Endpoints", doc["endpoints"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(endpointSliceCells),
	}, oldEndpointSlice()...)
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		if s.Ports[i].Name == nil {
			s.Ports[i].Name = ptr.To("")
		}
		if s.Ports[i].Protocol == nil {
			s.Ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

// sliceChanged counts everything but metadata, and labels.
func sliceChanged(s, old *discoveryv1.EndpointSlice) bool {
	return s.AddressType != old.AddressType || !row.Same(s.Endpoints, old.Endpoints) ||
		!row.Same(s.Ports, old.Ports) || !row.Same(s.Labels, old.Labels)
}

// dropTopology forgets what only v1beta1 could say, unless nothing else changes.
// A node named there before is named where v1 does.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	before := map[string]bool{}
	if old != nil {
		if row.Same(s.Endpoints, old.Endpoints) {
			return
		}
		for _, e := range old.Endpoints {
			if n := e.DeprecatedTopology[corev1.LabelHostname]; n != "" {
				before[n] = true
			}
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if n := e.DeprecatedTopology[corev1.LabelHostname]; e.NodeName == nil && before[n] && len(rules.DNSSubdomain(n, false)) == 0 {
			e.NodeName = &n
		}
		e.DeprecatedTopology = nil
	}
}

func warnEndpointSlice(s, old *discoveryv1.EndpointSlice) []string {
	var out []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return out
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return out
	}
	for i, e := range s.Endpoints {
		for k, a := range e.Addresses {
			out = append(out, utilvalidation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(k), a)...)
		}
	}
	return out
}

func endpointSliceCells(s *discoveryv1.EndpointSlice, now time.Time) []any {
	var ports, addresses []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			ports = append(ports, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range s.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	return []any{s.Name, string(s.AddressType), firstThree(ports), firstThree(addresses), rules.Age(s.CreationTimestamp, now)}
}

func firstThree(list []string) string {
	if n := len(list) - 3; n > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:3], ","), n)
	}
	if joined := strings.Join(list, ","); joined != "" {
		return joined
	}
	return "<unset>"
}
