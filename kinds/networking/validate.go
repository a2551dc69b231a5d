package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/networking/validation in Kubernetes.

var (
	badPathParts = []string{"//", "/./", "/../", "%2f", "%2F"}
	badPathEnds  = []string{"/..", "/."}
)

// tolerance is what an update may keep of an old ingress.
type tolerance struct{ secretName, wildcardRule bool }

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	l := rules.List(validateIngressSpec(&i.Spec, tolerance{}))
	if class, set := i.Annotations[annotationClass]; set && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		l.Invalid(field.NewPath("annotations").Child(annotationClass), class, "must match `ingressClassName` when both are specified")
	}
	return l.Errors()
}

func validateIngressUpdate(i, old *networkingv1.Ingress) field.ErrorList {
	var may tolerance
	for _, t := range old.Spec.TLS {
		may.secretName = may.secretName || t.SecretName != "" && len(rules.DNSSubdomain(t.SecretName, false)) > 0
	}
	for _, r := range old.Spec.Rules {
		may.wildcardRule = may.wildcardRule || strings.Contains(r.Host, "*") && len(validateHTTP(r.HTTP, nil)) > 0
	}
	return validateIngressSpec(&i.Spec, may)
}

func validateIngressSpec(s *networkingv1.IngressSpec, may tolerance) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		l.Invalid(path, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		l.Add(validateBackend(s.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for i, r := range s.Rules {
		at := path.Child("rules").Index(i)
		wildcard := strings.Contains(r.Host, "*")
		if r.Host != "" {
			if netutils.ParseIPSloppy(r.Host) != nil {
				l.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address")
			}
			l.Messages(at.Child("host"), r.Host, hostMessages(r.Host))
		}
		if !wildcard || !may.wildcardRule {
			l.Add(validateHTTP(r.HTTP, at.Child("http"))...)
		}
	}
	for i, t := range s.TLS {
		at := path.Child("tls").Index(i)
		for k, host := range t.Hosts {
			l.Messages(at.Child("hosts").Index(k), host, hostMessages(host))
		}
		if !may.secretName && t.SecretName != "" {
			l.Name(at.Child("secretName"), t.SecretName, rules.DNSSubdomain)
		}
	}
	if s.IngressClassName != nil {
		l.Name(path.Child("ingressClassName"), *s.IngressClassName, rules.DNSSubdomain)
	}
	return l.Errors()
}

func hostMessages(host string) []string {
	if strings.Contains(host, "*") {
		return utilvalidation.IsWildcardDNS1123Subdomain(host)
	}
	return utilvalidation.IsDNS1123Subdomain(host)
}

func validateHTTP(h *networkingv1.HTTPIngressRuleValue, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var l rules.List
	if len(h.Paths) == 0 {
		l.Required(path.Child("paths"), "")
	}
	for i := range h.Paths {
		l.Add(validatePath(&h.Paths[i], path.Child("paths").Index(i))...)
	}
	return l.Errors()
}

func validatePath(p *networkingv1.HTTPIngressPath, path *field.Path) field.ErrorList {
	var l rules.List
	if p.PathType == nil {
		l.Required(path.Child("pathType"), "pathType must be specified")
		return l.Errors()
	}
	at := path.Child("path")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(p.Path, "/") {
			l.Invalid(at, p.Path, "must be an absolute path")
		}
		for _, bad := range badPathParts {
			if strings.Contains(p.Path, bad) {
				l.Invalid(at, p.Path, fmt.Sprintf("must not contain '%s'", bad))
			}
		}
		for _, bad := range badPathEnds {
			if strings.HasSuffix(p.Path, bad) {
				l.Invalid(at, p.Path, fmt.Sprintf("cannot end with '%s'", bad))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			l.Invalid(at, p.Path, "must be an absolute path")
		}
	default:
		rules.Supported(&l, path.Child("pathType"), *p.PathType,
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
	l.Add(validateBackend(&p.Backend, path.Child("backend"))...)
	return l.Errors()
}

func validateBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	var l rules.List
	switch {
	case b.Resource != nil && b.Service != nil:
		l.Invalid(path, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		judgeReference(&l, b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, path.Child("resource"))
	case b.Service != nil:
		if b.Service.Name == "" {
			l.Required(path.Child("service", "name"), "")
		} else {
			l.Name(path.Child("service", "name"), b.Service.Name, rules.DNSLabel)
		}
		port := b.Service.Port
		switch {
		case port.Name != "" && port.Number != 0:
			l.Invalid(path, "", "cannot set both port name & port number")
		case port.Name != "":
			l.Messages(path.Child("service", "port", "name"), port.Name, utilvalidation.IsValidPortName(port.Name))
		case port.Number != 0:
			l.Add(rules.Port(port.Number, path.Child("service", "port", "number"))...)
		default:
			l.Required(path, "port name or number is required")
		}
	default:
		l.Invalid(path, "", "resource or service backend is required")
	}
	return l.Errors()
}

// judgeReference judges what names an object of any kind.
func judgeReference(l *rules.List, group *string, kind, name string, path *field.Path) {
	if group != nil {
		l.Add(rules.DNSSubdomainField(*group, path.Child("apiGroup"))...)
	}
	segment(l, path.Child("kind"), kind)
	segment(l, path.Child("name"), name)
}

func segment(l *rules.List, path *field.Path, name string) {
	if name == "" {
		l.Required(path, "")
		return
	}
	l.Messages(path, name, row.PathSegment(name, false))
}

func validateIngressStatusUpdate(i, old *networkingv1.Ingress) field.ErrorList {
	var l rules.List
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			before = append(before, in.IP)
		}
	}
	for n, in := range i.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(n)
		if in.IP != "" {
			l.Add(rules.IP(in.IP, at.Child("ip"), before...)...)
		}
		if in.Hostname != "" {
			l.Add(rules.DNSSubdomainField(in.Hostname, at.Child("hostname"))...)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				l.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors()
}

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if len(c.Spec.Controller) > 250 {
		l.TooLong(path.Child("controller"), 250)
	}
	l.Add(utilvalidation.IsDomainPrefixedPath(path.Child("controller"), c.Spec.Controller)...)
	p := c.Spec.Parameters
	if p == nil {
		return l.Errors()
	}
	path = path.Child("parameters")
	judgeReference(&l, p.APIGroup, p.Kind, p.Name, path)
	switch {
	case p.Scope == nil:
		l.Required(path.Child("scope"), "")
	case *p.Scope == networkingv1.IngressClassParametersReferenceScopeNamespace:
		if p.Namespace == nil {
			l.Required(path.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
		} else {
			l.Name(path.Child("namespace"), *p.Namespace, rules.DNSLabel)
		}
	case *p.Scope == networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			l.Forbidden(path.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
		}
	default:
		rules.Supported(&l, path.Child("scope"), *p.Scope,
			networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	}
	return l.Errors()
}

func validateIngressClassUpdate(c, old *networkingv1.IngressClass) field.ErrorList {
	return append(rules.Immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller")), validateIngressClass(c)...)
}

var protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
