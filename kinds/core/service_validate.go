package core

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff.dev/skiff/kinds/rules"
)

// serviceCheck judges one Service; old is nil on creation.
type serviceCheck struct {
	rules.List
	service, old *v1.Service
	spec         *v1.ServiceSpec
	path         *field.Path
}

func validateService(s *v1.Service) field.ErrorList { return checkService(s, nil) }

func checkService(s, old *v1.Service) field.ErrorList {
	c := serviceCheck{service: s, old: old, spec: &s.Spec, path: field.NewPath("spec")}
	hints, hinted := s.Annotations[v1.DeprecatedAnnotationTopologyAwareHints]
	mode, moded := s.Annotations[v1.AnnotationTopologyMode]
	if hinted && moded && hints != mode {
		c.Invalid(field.NewPath("metadata", "annotations").Key(v1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", v1.DeprecatedAnnotationTopologyAwareHints))
	}
	c.typed()
	names := map[string]bool{}
	for i := range c.spec.Ports {
		c.port(&c.spec.Ports[i], names, c.path.Child("ports").Index(i))
	}
	if c.spec.Selector != nil {
		c.Add(metavalidation.ValidateLabels(c.spec.Selector, c.path.Child("selector"))...)
	}
	c.affinity()
	c.clusterIPs()
	for i, ip := range c.spec.ExternalIPs {
		at := c.path.Child("externalIPs").Index(i)
		var was []string
		if old != nil {
			was = old.Spec.ExternalIPs
		}
		if errs := rules.IP(ip, at, was...); len(errs) > 0 {
			c.Add(errs...)
		} else {
			c.Add(rules.EndpointIP(ip, at)...)
		}
	}
	rules.SupportedOrRequired(&c.List, c.path.Child("type"), c.spec.Type,
		v1.ServiceTypeClusterIP, v1.ServiceTypeExternalName, v1.ServiceTypeLoadBalancer, v1.ServiceTypeNodePort)
	c.portNumbers()
	c.sourceRanges()
	c.loadBalancer()
	c.trafficPolicies()
	return c.Errors()
}

// headless says whether a service has no address of its own.
func headless(s *v1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == v1.ClusterIPNone
}

// typed judges what the type of a service asks for.
func (c *serviceCheck) typed() {
	s := c.spec
	if len(s.Ports) == 0 && !headless(c.service) && s.Type != v1.ServiceTypeExternalName {
		c.Required(c.path.Child("ports"), "")
	}
	switch s.Type {
	case v1.ServiceTypeLoadBalancer, v1.ServiceTypeNodePort:
		if headless(c.service) {
			c.Invalid(c.path.Child("clusterIPs").Index(0), s.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", s.Type))
		}
	case v1.ServiceTypeExternalName:
		not := func(set bool, name string) {
			if set {
				c.Forbidden(c.path.Child(name), "may not be set for ExternalName services")
			}
		}
		not(len(s.ClusterIPs) > 0, "clusterIPs")
		not(len(s.IPFamilies) > 0, "ipFamilies")
		not(s.IPFamilyPolicy != nil, "ipFamilyPolicy")
		if name := strings.TrimSuffix(s.ExternalName, "."); name != "" {
			c.Add(rules.DNSSubdomainField(name, c.path.Child("externalName"))...)
		} else {
			c.Required(c.path.Child("externalName"), "")
		}
	}
}

func (c *serviceCheck) port(p *v1.ServicePort, names map[string]bool, path *field.Path) {
	if p.Name == "" {
		if len(c.spec.Ports) > 1 {
			c.Required(path.Child("name"), "")
		}
	} else {
		c.Add(rules.DNSLabelField(p.Name, path.Child("name"))...)
		if names[p.Name] {
			c.Duplicate(path.Child("name"), p.Name)
		}
		names[p.Name] = true
	}
	c.Add(rules.Port(p.Port, path.Child("port"))...)
	rules.SupportedOrRequired(&c.List, path.Child("protocol"), p.Protocol, v1.ProtocolSCTP, v1.ProtocolTCP, v1.ProtocolUDP)
	c.Add(rules.PortOrName(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		c.Add(rules.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
}

func (c *serviceCheck) affinity() {
	s := c.spec
	rules.SupportedOrRequired(&c.List, c.path.Child("sessionAffinity"), s.SessionAffinity, v1.ServiceAffinityClientIP, v1.ServiceAffinityNone)
	path, config := c.path.Child("sessionAffinityConfig"), s.SessionAffinityConfig
	if s.SessionAffinity == v1.ServiceAffinityNone && config != nil {
		c.Forbidden(path, fmt.Sprintf("must not be set when session affinity is %s", v1.ServiceAffinityNone))
	}
	if s.SessionAffinity != v1.ServiceAffinityClientIP {
		return
	}
	missing := fmt.Sprintf("when session affinity type is %s", v1.ServiceAffinityClientIP)
	timeout := path.Child("clientIP", "timeoutSeconds")
	const most = 24 * 60 * 60
	switch {
	case config == nil:
		c.Required(path, missing)
	case config.ClientIP == nil:
		c.Required(path.Child("clientIP"), missing)
	case config.ClientIP.TimeoutSeconds == nil:
		c.Required(timeout, missing)
	case *config.ClientIP.TimeoutSeconds <= 0 || *config.ClientIP.TimeoutSeconds > most:
		c.Invalid(timeout, config.ClientIP.TimeoutSeconds, fmt.Sprintf("must be greater than 0 and less than %d", most))
	}
}

// ValidateServiceClusterIPs judges clusterIP, clusterIPs, ipFamilies and
// ipFamilyPolicy alone, as the server does before it gives addresses. old is nil on
// creation.
func ValidateServiceClusterIPs(s, old *v1.Service) field.ErrorList {
	c := serviceCheck{service: s, old: old, spec: &s.Spec, path: field.NewPath("spec")}
	c.clusterIPs()
	return c.Errors()
}

// clusterIPs judges the cluster's addresses and their families against each other.
func (c *serviceCheck) clusterIPs() {
	s := c.spec
	if s.Type == v1.ServiceTypeExternalName {
		return
	}
	path := c.path.Child("clusterIPs")
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		c.Invalid(path, s.ClusterIPs, "must be empty when `clusterIP` is not specified")
	case s.ClusterIP != "" && len(s.ClusterIPs) == 0:
		c.Required(path, "")
	case s.ClusterIP != "" && s.ClusterIPs[0] != s.ClusterIP:
		c.Invalid(path, s.ClusterIPs, "first value must match `clusterIP`")
	}
	for i, family := range s.IPFamilies {
		at := c.path.Child("ipFamilies").Index(i)
		rules.Supported(&c.List, at, family, v1.IPv4Protocol, v1.IPv6Protocol)
		if slices.Contains(s.IPFamilies[:i], family) {
			c.Duplicate(at, family)
		}
	}
	if p := s.IPFamilyPolicy; p != nil {
		rules.Supported(&c.List, c.path.Child("ipFamilyPolicy"), *p,
			v1.IPFamilyPolicyPreferDualStack, v1.IPFamilyPolicyRequireDualStack, v1.IPFamilyPolicySingleStack)
	}
	if !c.validIPs(path) {
		return
	}
	if len(s.ClusterIPs) > 1 {
		dual, err := netutils.IsDualStackIPStrings(s.ClusterIPs)
		if err != nil {
			c.Add(field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%v", err)))
		}
		if !dual {
			c.Invalid(path, s.ClusterIPs, "may specify no more than one IP for each IP family")
		}
	}
	if headless(c.service) {
		return
	}
	for i := range min(len(s.ClusterIPs), len(s.IPFamilies)) {
		ip, family := s.ClusterIPs[i], s.IPFamilies[i]
		if v6 := netutils.IsIPv6String(ip); v6 && family == v1.IPv4Protocol || !v6 && family == v1.IPv6Protocol {
			c.Invalid(path.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", family, i))
		}
	}
}

func (c *serviceCheck) validIPs(path *field.Path) bool {
	list, valid := c.spec.ClusterIPs, true
	var was []string
	if c.old != nil {
		was = c.old.Spec.ClusterIPs
	}
	for i, ip := range list {
		if i == 0 && ip == v1.ClusterIPNone {
			if len(list) > 1 {
				valid = false
				c.Invalid(path, list, "'None' must be the first and only value")
			}
			continue
		}
		errs := rules.IP(ip, path.Index(i), was...)
		valid = valid && len(errs) == 0
		c.Add(errs...)
	}
	if len(list) > 2 {
		c.Invalid(path, list, "may only hold up to 2 values")
	}
	return valid
}

// portNumbers wants ports and node ports to be there once for each protocol.
func (c *serviceCheck) portNumbers() {
	path := c.path.Child("ports")
	ports := c.spec.Ports
	if c.spec.Type == v1.ServiceTypeClusterIP {
		for i := range ports {
			if ports[i].NodePort != 0 {
				c.Forbidden(path.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
			}
		}
	}
	for i, p := range ports {
		same := func(o v1.ServicePort) bool { return o.Protocol == p.Protocol && o.NodePort == p.NodePort }
		if p.NodePort != 0 && slices.ContainsFunc(ports[:i], same) {
			c.Duplicate(path.Index(i).Child("nodePort"), p.NodePort)
		}
	}
	for i, p := range ports {
		same := func(o v1.ServicePort) bool { return o.Protocol == p.Protocol && o.Port == p.Port }
		if slices.ContainsFunc(ports[:i], same) {
			c.Duplicate(path.Index(i), rules.Internal(v1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
	}
}

func (c *serviceCheck) sourceRanges() {
	const key = "service.beta.kubernetes.io/load-balancer-source-ranges"
	const notBalanced = "may only be used when `type` is 'LoadBalancer'"
	balanced := c.spec.Type == v1.ServiceTypeLoadBalancer
	if len(c.spec.LoadBalancerSourceRanges) > 0 {
		path := c.path.Child("LoadBalancerSourceRanges")
		if !balanced {
			c.Forbidden(path, notBalanced)
		}
		var was []string
		if c.old != nil {
			for _, r := range c.old.Spec.LoadBalancerSourceRanges {
				was = append(was, strings.TrimSpace(r))
			}
		}
		for i, r := range c.spec.LoadBalancerSourceRanges {
			c.Add(rules.CIDR(strings.TrimSpace(r), path.Index(i), was...)...)
		}
		return
	}
	text, ok := c.service.Annotations[key]
	if !ok {
		return
	}
	path := field.NewPath("metadata", "annotations").Key(key)
	if !balanced {
		c.Forbidden(path, notBalanced)
	}
	if c.old != nil && c.old.Annotations[key] == text {
		return
	}
	if text = strings.TrimSpace(text); text != "" {
		for _, r := range strings.Split(text, ",") {
			c.Add(rules.CIDR(strings.TrimSpace(r), path)...)
		}
	}
}

func (c *serviceCheck) loadBalancer() {
	s, balanced := c.spec, c.spec.Type == v1.ServiceTypeLoadBalancer
	if s.AllocateLoadBalancerNodePorts != nil && !balanced {
		c.Forbidden(c.path.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'")
	}
	if s.AllocateLoadBalancerNodePorts == nil && balanced {
		c.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	}
	c.class()
}

func (c *serviceCheck) class() {
	class, path := c.spec.LoadBalancerClass, c.path.Child("loadBalancerClass")
	switch {
	case class == nil:
	case c.spec.Type == v1.ServiceTypeLoadBalancer:
		c.Add(rules.QualifiedName(*class, path)...)
	default:
		c.Forbidden(path, "may only be used when `type` is 'LoadBalancer'")
	}
}

func (c *serviceCheck) trafficPolicies() {
	s, path := c.spec, c.path.Child("externalTrafficPolicy")
	if externallyAccessible(c.service) {
		rules.SupportedOrRequired(&c.List, path, s.ExternalTrafficPolicy, v1.ServiceExternalTrafficPolicyCluster, v1.ServiceExternalTrafficPolicyLocal)
	} else if s.ExternalTrafficPolicy != "" {
		c.Invalid(path, s.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	path = c.path.Child("healthCheckNodePort")
	switch uses := usesHealthCheckPort(c.service); {
	case !uses && s.HealthCheckNodePort != 0:
		c.Invalid(path, s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case uses && s.HealthCheckNodePort == 0:
		c.Required(path, "")
	case uses:
		c.Messages(path, s.HealthCheckNodePort, validation.IsValidPortNum(int(s.HealthCheckNodePort)))
	}
	path = c.path.Child("internalTrafficPolicy")
	if p := s.InternalTrafficPolicy; p != nil {
		rules.Supported(&c.List, path, *p, v1.ServiceInternalTrafficPolicyCluster, v1.ServiceInternalTrafficPolicyLocal)
	} else if s.Type == v1.ServiceTypeClusterIP || usesNodePorts(c.service) {
		c.Required(path, "")
	}
	if d := s.TrafficDistribution; d != nil {
		rules.Supported(&c.List, c.path.Child("trafficDistribution"), *d, v1.ServiceTrafficDistributionPreferClose,
			v1.ServiceTrafficDistributionPreferSameZone, v1.ServiceTrafficDistributionPreferSameNode)
	}
}
