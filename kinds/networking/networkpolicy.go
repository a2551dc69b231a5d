package networking

import (
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func networkPolicy() *kinds.Kind {
	type T = *networkingv1.NetworkPolicy
	return row.Fill[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](networkingv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "networkpolicies", ShortNames: []string{"netpol"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultNetworkPolicy),
		Generation:     rules.Differ(policyChanged),
		Validate:       rules.Check(validateNetworkPolicy),
		ValidateUpdate: rules.Check2(validateNetworkPolicyUpdate),
		Warnings:       rules.Warn(func(p, _ T) []string { return warnNetworkPolicy(p) }),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(p T, now time.Time) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), rules.Age(p.CreationTimestamp, now)}
		}),
	}, oldNetworkPolicy()...)
}

// policyChanged compares as Kubernetes does, to which an empty list is not a missing
// one. What is stored has none that are empty: a policy that is written again with
// "ingress: []" gets a new generation each time.
func policyChanged(p, old *networkingv1.NetworkPolicy) bool {
	if !row.Same(p.Spec, old.Spec) {
		return true
	}
	var stored networkingv1.NetworkPolicySpec
	raw, err := old.Spec.Marshal()
	if err == nil {
		err = stored.Unmarshal(raw)
	}
	return err != nil || !reflect.DeepEqual(p.Spec, stored)
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) != 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for i := range p.Spec.Ingress {
		defaultPolicyPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		defaultPolicyPorts(p.Spec.Egress[i].Ports)
	}
}

func defaultPolicyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

func warnNetworkPolicy(p *networkingv1.NetworkPolicy) []string {
	var out []string
	block := func(path *field.Path, b *networkingv1.IPBlock) {
		if b == nil {
			return
		}
		path = path.Child("ipBlock")
		out = append(out, utilvalidation.GetWarningsForCIDR(path.Child("cidr"), b.CIDR)...)
		for i, except := range b.Except {
			out = append(out, utilvalidation.GetWarningsForCIDR(path.Child("except").Index(i), except)...)
		}
	}
	for i, rule := range p.Spec.Ingress {
		for k := range rule.From {
			block(field.NewPath("spec", "ingress").Index(i).Child("from").Index(k), rule.From[k].IPBlock)
		}
	}
	for i, rule := range p.Spec.Egress {
		for k := range rule.To {
			block(field.NewPath("spec", "egress").Index(i).Child("to").Index(k), rule.To[k].IPBlock)
		}
	}
	return out
}
