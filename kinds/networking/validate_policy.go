package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	return validatePolicySpec(&p.Spec, metavalidation.LabelSelectorValidationOptions{}, nil)
}

func validateNetworkPolicyUpdate(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	var opts metavalidation.LabelSelectorValidationOptions
	opts.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, opts, nil)) > 0
	var before []string
	note := func(peers []networkingv1.NetworkPolicyPeer) {
		for _, peer := range peers {
			if peer.IPBlock != nil {
				before = append(append(before, peer.IPBlock.CIDR), peer.IPBlock.Except...)
			}
		}
	}
	for _, r := range old.Spec.Ingress {
		note(r.From)
	}
	for _, r := range old.Spec.Egress {
		note(r.To)
	}
	return validatePolicySpec(&p.Spec, opts, before)
}

// validatePolicySpec judges a policy; before are the address ranges that were there.
func validatePolicySpec(s *networkingv1.NetworkPolicySpec, opts metavalidation.LabelSelectorValidationOptions, before []string) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	l.Add(metavalidation.ValidateLabelSelector(&s.PodSelector, opts, path.Child("podSelector"))...)
	both := func(at *field.Path, ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, side string) {
		for i := range ports {
			l.Add(validatePolicyPort(&ports[i], at.Child("ports").Index(i))...)
		}
		for i := range peers {
			l.Add(validatePeer(&peers[i], opts, before, at.Child(side).Index(i))...)
		}
	}
	for i, r := range s.Ingress {
		both(path.Child("ingress").Index(i), r.Ports, r.From, "from")
	}
	for i, r := range s.Egress {
		both(path.Child("egress").Index(i), r.Ports, r.To, "to")
	}
	if len(s.PolicyTypes) > 2 {
		l.Invalid(path.Child("policyTypes"), &s.PolicyTypes, "may not specify more than two policyTypes")
		return l.Errors()
	}
	for i, t := range s.PolicyTypes {
		rules.Supported(&l, path.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
	return l.Errors()
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var l rules.List
	if p.Protocol != nil {
		rules.Supported(&l, path.Child("protocol"), *p.Protocol, protocols...)
	}
	end := path.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			l.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified")
		}
	case p.Port.Type == intstr.Int:
		l.Add(rules.Port(p.Port.IntVal, path.Child("port"))...)
		if p.EndPort != nil {
			if *p.EndPort < p.Port.IntVal {
				l.Invalid(end, p.Port.IntVal, "must be greater than or equal to `port`")
			}
			l.Add(rules.Port(*p.EndPort, end)...)
		}
	default:
		if p.EndPort != nil {
			l.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric")
		}
		l.Messages(path.Child("port"), p.Port.StrVal, utilvalidation.IsValidPortName(p.Port.StrVal))
	}
	return l.Errors()
}

func validatePeer(p *networkingv1.NetworkPolicyPeer, opts metavalidation.LabelSelectorValidationOptions, before []string, path *field.Path) field.ErrorList {
	var l rules.List
	n := 0
	if p.PodSelector != nil {
		n++
		l.Add(metavalidation.ValidateLabelSelector(p.PodSelector, opts, path.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		n++
		l.Add(metavalidation.ValidateLabelSelector(p.NamespaceSelector, opts, path.Child("namespaceSelector"))...)
	}
	if p.IPBlock != nil {
		n++
		l.Add(validateBlock(p.IPBlock, before, path.Child("ipBlock"))...)
	}
	if n == 0 {
		l.Required(path, "must specify a peer")
	} else if n > 1 && p.IPBlock != nil {
		l.Forbidden(path, "may not specify both ipBlock and another peer")
	}
	return l.Errors()
}

func validateBlock(b *networkingv1.IPBlock, before []string, path *field.Path) field.ErrorList {
	var l rules.List
	if b.CIDR == "" {
		l.Required(path.Child("cidr"), "")
		return l.Errors()
	}
	l.Add(rules.CIDR(b.CIDR, path.Child("cidr"), before...)...)
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return l.Errors()
	}
	for i, text := range b.Except {
		at := path.Child("except").Index(i)
		l.Add(rules.CIDR(text, at, before...)...)
		_, part, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue
		}
		wholeLen, _ := whole.Mask.Size()
		partLen, _ := part.Mask.Size()
		if !whole.Contains(part.IP) || wholeLen >= partLen {
			l.Invalid(at, text, "must be a strict subset of `cidr`")
		}
	}
	return l.Errors()
}

// canonicalIP is the name rule of IPAddress: its name is the address.
func canonicalIP(name string, _ bool) []string {
	var out []string
	for _, e := range utilvalidation.IsValidIP(&field.Path{}, name) {
		out = append(out, e.Detail)
	}
	return out
}

func validateIPAddress(a *networkingv1.IPAddress) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec", "parentRef")
	p := a.Spec.ParentRef
	if p == nil {
		l.Required(path, "")
		return l.Errors()
	}
	if p.Group != "" {
		l.Add(rules.DNSSubdomainField(p.Group, path.Child("group"))...)
	}
	segment(&l, path.Child("resource"), p.Resource)
	segment(&l, path.Child("name"), p.Name)
	if p.Namespace != "" {
		l.Messages(path.Child("namespace"), p.Namespace, row.PathSegment(p.Namespace, false))
	}
	return l.Errors()
}

func validateIPAddressUpdate(a, old *networkingv1.IPAddress) field.ErrorList {
	return append(validateIPAddress(a), row.Immutable(a.Spec.ParentRef, old.Spec.ParentRef, field.NewPath("spec", "parentRef"))...)
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	var l rules.List
	path, cidrs := field.NewPath("spec", "cidrs"), c.Spec.CIDRs
	if len(cidrs) == 0 {
		l.Required(path, "at least one CIDR required")
		return l.Errors()
	}
	if len(cidrs) > 2 {
		l.Invalid(path, rules.Internal(c.Spec), "may only hold up to 2 values")
		return l.Errors()
	}
	for i, cidr := range cidrs {
		l.Add(utilvalidation.IsValidCIDR(path.Index(i), cidr)...)
	}
	if len(cidrs) == 2 {
		if f := netutils.IPFamilyOfCIDRString(cidrs[0]); f != netutils.IPFamilyUnknown && f == netutils.IPFamilyOfCIDRString(cidrs[1]) {
			l.Invalid(path, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
	return l.Errors()
}

// validateServiceCIDRUpdate lets a second family be added, nothing else.
func validateServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	const immutable = "field is immutable"
	var l rules.List
	path, is, was := field.NewPath("spec", "cidrs"), c.Spec.CIDRs, old.Spec.CIDRs
	switch {
	case len(was) == len(is):
		for i := range was {
			if was[i] != is[i] {
				l.Invalid(path.Index(i), is[i], immutable)
			}
		}
	case len(was) == 1 && len(is) == 2:
		if is[0] != was[0] {
			l.Invalid(path.Index(0), is[0], immutable)
		}
		l.Add(validateServiceCIDR(c)...)
	default:
		l.Invalid(path, is, immutable)
	}
	return l.Errors()
}
