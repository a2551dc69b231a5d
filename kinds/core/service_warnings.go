package core

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func serviceWarnings(s, _ *v1.Service) []string {
	var out []string
	spec, path := &s.Spec, field.NewPath("spec")
	none := spec.Type == v1.ServiceTypeClusterIP && spec.ClusterIP == v1.ClusterIPNone
	add := func(is bool, text string) {
		if is {
			out = append(out, text)
		}
	}
	_, hinted := s.Annotations[v1.DeprecatedAnnotationTopologyAwareHints]
	add(hinted, fmt.Sprintf("annotation %s is deprecated, please use %s instead", v1.DeprecatedAnnotationTopologyAwareHints, v1.AnnotationTopologyMode))
	if spec.ClusterIP != "" && spec.ClusterIP != v1.ClusterIPNone {
		for i, ip := range spec.ClusterIPs {
			out = append(out, validation.GetWarningsForIP(path.Child("clusterIPs").Index(i), ip)...)
		}
	}
	if none {
		add(spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
		add(len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
		add(spec.SessionAffinity != v1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	}
	for i, ip := range spec.ExternalIPs {
		out = append(out, validation.GetWarningsForIP(path.Child("externalIPs").Index(i), ip)...)
	}
	external := spec.Type == v1.ServiceTypeExternalName
	add(len(spec.ExternalIPs) > 0 && !none && !external, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	if spec.LoadBalancerIP != "" {
		out = append(out, validation.GetWarningsForIP(path.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	}
	for i, r := range spec.LoadBalancerSourceRanges {
		out = append(out, validation.GetWarningsForCIDR(path.Child("loadBalancerSourceRanges").Index(i), r)...)
	}
	add(external && len(spec.ExternalIPs) > 0, fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", v1.ServiceTypeExternalName))
	add(!external && spec.ExternalName != "", fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", v1.ServiceTypeExternalName))
	add(ptr.Deref(spec.TrafficDistribution, "") == v1.ServiceTrafficDistributionPreferClose,
		fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", v1.ServiceTrafficDistributionPreferClose, v1.ServiceTrafficDistributionPreferSameZone))
	return out
}
