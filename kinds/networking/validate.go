package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func canonicalIP(name string, prefix bool) []string { return rules.DNSSubdomain(name, prefix) }

func validateIngress(*networkingv1.Ingress) field.ErrorList                          { return nil }
func validateIngressUpdate(i, old *networkingv1.Ingress) field.ErrorList             { return nil }
func validateIngressStatusUpdate(i, old *networkingv1.Ingress) field.ErrorList       { return nil }
func validateIngressClass(*networkingv1.IngressClass) field.ErrorList                { return nil }
func validateIngressClassUpdate(i, old *networkingv1.IngressClass) field.ErrorList   { return nil }
func validateNetworkPolicy(*networkingv1.NetworkPolicy) field.ErrorList              { return nil }
func validateNetworkPolicyUpdate(i, old *networkingv1.NetworkPolicy) field.ErrorList { return nil }
func validateIPAddress(*networkingv1.IPAddress) field.ErrorList                      { return nil }
func validateIPAddressUpdate(i, old *networkingv1.IPAddress) field.ErrorList         { return nil }
func validateServiceCIDR(*networkingv1.ServiceCIDR) field.ErrorList                  { return nil }
func validateServiceCIDRUpdate(i, old *networkingv1.ServiceCIDR) field.ErrorList     { return nil }
