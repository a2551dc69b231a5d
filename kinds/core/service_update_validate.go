package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/rules"
)

func validateServiceUpdate(s, old *v1.Service) field.ErrorList {
	c := serviceCheck{service: s, old: old, spec: &s.Spec, path: field.NewPath("spec")}
	if s.Spec.Type != v1.ServiceTypeExternalName && old.Spec.Type != v1.ServiceTypeExternalName {
		if !headless(s) || !headless(old) {
			c.keepsClusterIPs()
		}
		if !headless(s) && !headless(old) {
			c.keepsFamilies()
		}
	}
	if s.Spec.Type == v1.ServiceTypeLoadBalancer && old.Spec.Type == v1.ServiceTypeLoadBalancer && !ptr.Equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		c.Invalid(c.path.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set")
	}
	c.class()
	if usesHealthCheckPort(old) && usesHealthCheckPort(s) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		c.Forbidden(c.path.Child("healthCheckNodePort"), "field is immutable")
	}
	c.Add(checkService(s, old)...)
	return c.Errors()
}

const setOnce = "may not change once set"

// keepsClusterIPs lets a second address come and go, but none change.
func (c *serviceCheck) keepsClusterIPs() {
	is, was := c.spec.ClusterIPs, c.old.Spec.ClusterIPs
	path := c.path.Child("clusterIPs")
	first := len(is) > 0 && len(was) > 0 && is[0] != was[0]
	switch {
	case len(is) == len(was):
		for i := range is {
			if is[i] != was[i] {
				c.Invalid(path.Index(i), is, setOnce)
			}
		}
	case len(is) > len(was):
		if first {
			c.Invalid(path.Index(0), is, setOnce)
		}
	default:
		if len(is) == 0 {
			c.Invalid(path.Index(0), is, "primary clusterIP can not be unset")
		}
		if first {
			c.Invalid(path.Index(0), is, setOnce)
		}
		if len(is) == 1 {
			c.singleStack("must be set to 'SingleStack' when releasing the secondary clusterIP")
		}
	}
}

func (c *serviceCheck) keepsFamilies() {
	is, was := c.spec.IPFamilies, c.old.Spec.IPFamilies
	path := c.path.Child("ipFamilies").Index(0)
	first := len(is) > 0 && len(was) > 0 && is[0] != was[0]
	switch {
	case len(is) == len(was):
		for i := range is {
			if is[i] != was[i] {
				c.Invalid(path, is, setOnce)
			}
		}
	case len(is) > len(was):
		if first {
			c.Invalid(path, c.spec.ClusterIPs, setOnce)
		}
	default:
		if len(c.spec.ClusterIPs) == 0 {
			c.Invalid(path, is, "primary ipFamily can not be unset")
		}
		if first {
			c.Invalid(path, c.spec.ClusterIPs, setOnce)
		}
		if len(is) == 1 {
			c.singleStack("must be set to 'SingleStack' when releasing the secondary ipFamily")
		}
	}
}

func (c *serviceCheck) singleStack(detail string) {
	if p := c.spec.IPFamilyPolicy; p == nil || *p != v1.IPFamilyPolicySingleStack {
		c.Invalid(c.path.Child("ipFamilyPolicy"), p, detail)
	}
}

func validateServiceStatus(s, old *v1.Service) field.ErrorList {
	return ValidateLoadBalancerStatus(&s.Status.LoadBalancer, &old.Status.LoadBalancer, field.NewPath("status", "loadBalancer"), s.Spec.Type)
}

// ValidateLoadBalancerStatus judges the addresses that a load balancer gave to a
// service.
func ValidateLoadBalancerStatus(s, old *v1.LoadBalancerStatus, path *field.Path, serviceType v1.ServiceType) field.ErrorList {
	var l rules.List
	path = path.Child("ingress")
	if serviceType != v1.ServiceTypeLoadBalancer && len(s.Ingress) > 0 {
		l.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
		return l.Errors()
	}
	var was []string
	for i := range old.Ingress {
		if old.Ingress[i].IP != "" {
			was = append(was, old.Ingress[i].IP)
		}
	}
	for i := range s.Ingress {
		in, at := &s.Ingress[i], path.Index(i)
		if in.IP != "" {
			l.Add(rules.IP(in.IP, at.Child("ip"), was...)...)
		}
		switch mode := at.Child("ipMode"); {
		case in.IPMode == nil && in.IP != "":
			l.Required(mode, "must be specified when `ip` is set")
		case in.IPMode != nil && in.IP == "":
			l.Forbidden(mode, "may not be specified when `ip` is not set")
		case in.IPMode != nil:
			rules.Supported(&l, mode, *in.IPMode, v1.LoadBalancerIPModeProxy, v1.LoadBalancerIPModeVIP)
		}
		if in.Hostname != "" {
			l.Messages(at.Child("hostname"), in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				l.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors()
}
