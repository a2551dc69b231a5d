package alloc

import (
	"fmt"
	"net/netip"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
)

// inherit keeps what an update left out although it cannot go (core/service,
// patchAllocatedValues).
func inherit(svc, before *v1.Service) {
	if svc.Spec.Type != v1.ServiceTypeExternalName && before.Spec.Type != v1.ServiceTypeExternalName {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = before.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = slices.Clone(before.Spec.ClusterIPs)
		}
	}
	if wantsNodePorts(svc) && wantsNodePorts(before) {
		inheritPorts(svc, before)
	}
	if needsHealthPort(svc) && needsHealthPort(before) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = before.Spec.HealthCheckNodePort
	}
}

// inheritPorts fills in node ports by the names of the ports, but none that
// another port uses.
func inheritPorts(svc, before *v1.Service) {
	used := map[int32]bool{}
	byName := map[string]int32{}
	for _, p := range before.Spec.Ports {
		byName[p.Name] = p.NodePort
		for _, q := range svc.Spec.Ports {
			if p.NodePort != 0 && p.NodePort == q.NodePort {
				used[p.NodePort] = true
			}
		}
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if had := byName[p.Name]; p.NodePort == 0 && !used[had] {
			p.NodePort = had
		}
	}
}

// normalise keeps clusterIP and clusterIPs together, for clients that know only
// the first (core/service, normalizeClusterIPs).
func normalise(svc, before *v1.Service) {
	spec := &svc.Spec
	if before == nil {
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
		return
	}
	old := &before.Spec
	if len(old.ClusterIPs) > 0 && len(spec.ClusterIPs) == 0 && old.ClusterIP == spec.ClusterIP {
		spec.ClusterIPs = slices.Clone(old.ClusterIPs)
	}
	if old.ClusterIP == spec.ClusterIP || !slices.Equal(old.ClusterIPs, spec.ClusterIPs) {
		return
	}
	spec.ClusterIPs = nil
	if spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// families fills in and checks the address families of a cluster that has IPv4
// (core/service, initIPFamilyFields).
func (s *Services) families(svc, before *v1.Service) error {
	spec := &svc.Spec
	if spec.Type == v1.ServiceTypeExternalName {
		return nil
	}
	if keepsPreferDual(svc, before) {
		return nil
	}
	open := spec.ClusterIP == v1.ClusterIPNone && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		policy := v1.IPFamilyPolicySingleStack
		switch {
		case before != nil && before.Spec.IPFamilyPolicy != nil:
			policy = *before.Spec.IPFamilyPolicy
		case open:
			policy = v1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	if errs := core.ValidateServiceClusterIPs(svc, before); len(errs) > 0 {
		return invalid(svc, errs...)
	}
	single := *spec.IPFamilyPolicy == v1.IPFamilyPolicySingleStack
	var errs []*field.Error
	path := field.NewPath("spec")
	if before != nil && single {
		if slices.Equal(before.Spec.ClusterIPs, spec.ClusterIPs) && len(spec.ClusterIPs) > 1 {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if slices.Equal(before.Spec.IPFamilies, spec.IPFamilies) && len(spec.IPFamilies) > 1 {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
	}
	if single && len(spec.ClusterIPs) == 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if single && len(spec.IPFamilies) == 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
	errs = append(errs, inferFamilies(spec, path)...)
	if len(errs) > 0 {
		return invalid(svc, errs...)
	}
	if open {
		openFamilies(spec, single)
		return nil
	}
	if *spec.IPFamilyPolicy == v1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if f != v1.IPv4Protocol {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return invalid(svc, errs...)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []v1.IPFamily{v1.IPv4Protocol}
	}
	return nil
}

// keepsPreferDual: a service that prefers dual-stack is not changed by an update
// that does not ask for it.
func keepsPreferDual(svc, before *v1.Service) bool {
	prefers := func(s *v1.Service) bool {
		return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == v1.IPFamilyPolicyPreferDualStack
	}
	return before != nil && prefers(svc) && prefers(before) &&
		slices.Equal(svc.Spec.ClusterIPs, before.Spec.ClusterIPs) && slices.Equal(svc.Spec.IPFamilies, before.Spec.IPFamilies) &&
		len(svc.Spec.IPFamilies) > 0
}

// inferFamilies appends the families of addresses that are given.
func inferFamilies(spec *v1.ServiceSpec, path *field.Path) []*field.Error {
	var errs []*field.Error
	for i, ip := range spec.ClusterIPs {
		if ip == v1.ClusterIPNone {
			break
		}
		a, err := netip.ParseAddr(ip)
		if err != nil || i < len(spec.IPFamilies) {
			continue // validation tells what is wrong with it
		}
		if !a.Is4() {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", v1.IPv6Protocol)))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, v1.IPv4Protocol)
	}
	return errs
}

// openFamilies: a headless service without selector has both families, which
// concern only those who write its endpoints.
func openFamilies(spec *v1.ServiceSpec, single bool) {
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []v1.IPFamily{v1.IPv4Protocol}
	}
	if len(spec.IPFamilies) == 1 && !single {
		other := v1.IPv6Protocol
		if spec.IPFamilies[0] == v1.IPv6Protocol {
			other = v1.IPv4Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, other)
	}
}
