package networking

import (
	"fmt"
	"sort"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// annotationClass named the class before spec.ingressClassName did.
const annotationClass = "kubernetes.io/ingress.class"

func ingress() *kinds.Kind {
	type T = *networkingv1.Ingress
	return row.Fill[networkingv1.Ingress, networkingv1.IngressList](networkingv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "ingresses", ShortNames: []string{"ing"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		PrepareCreate:  rules.Do(func(i T) { i.Status = networkingv1.IngressStatus{} }),
		PrepareUpdate:  rules.Do2(func(i, old T) { i.Status = old.Status }),
		Generation:     rules.Differ(func(i, old T) bool { return !row.Same(i.Spec, old.Spec) }),
		Validate:       rules.Check(validateIngress),
		ValidateUpdate: rules.Check2(validateIngressUpdate),
		Warnings:       rules.Warn(warnIngress),
		Subresources:   row.WithStatus(func(i, old T) { i.Spec = old.Spec }, validateIngressStatusUpdate, "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
			rules.Column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
			rules.Column("Address", "Address is a list containing ingress points for the load-balancer"),
			rules.Column("Ports", "Ports of TLS configurations that open"),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(ingressCells),
	}, oldIngress()...)
}

func warnIngress(i, old *networkingv1.Ingress) []string {
	var out []string
	if _, set := i.Annotations[annotationClass]; old == nil && set && i.Spec.IngressClassName == nil {
		out = append(out, fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", annotationClass))
	}
	if old != nil && !row.Same(i.Status, old.Status) {
		path := field.NewPath("status", "loadBalancer", "ingress")
		for n, in := range i.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				out = append(out, utilvalidation.GetWarningsForIP(path.Index(n), in.IP)...)
			}
		}
	}
	return out
}

func ingressCells(i *networkingv1.Ingress, now time.Time) []any {
	ports := "80"
	if len(i.Spec.TLS) != 0 {
		ports = "80, 443"
	}
	return []any{
		i.Name, ptr.Deref(i.Spec.IngressClassName, "<none>"), formatHosts(i.Spec.Rules),
		formatAddresses(i.Status.LoadBalancer.Ingress), ports, rules.Age(i.CreationTimestamp, now),
	}
}

// formatHosts shows the first three hosts.
func formatHosts(rules []networkingv1.IngressRule) string {
	var list []string
	more := false
	for _, r := range rules {
		if len(list) == 3 {
			more = true
		} else if r.Host != "" {
			list = append(list, r.Host)
		}
	}
	switch {
	case len(list) == 0:
		return "*"
	case more:
		return fmt.Sprintf("%s + %d more...", strings.Join(list, ","), len(rules)-3)
	}
	return strings.Join(list, ",")
}

func formatAddresses(points []networkingv1.IngressLoadBalancerIngress) string {
	seen := map[string]bool{}
	var list []string
	for _, p := range points {
		a := p.IP
		if a == "" {
			a = p.Hostname
		}
		if a != "" && !seen[a] {
			seen[a] = true
			list = append(list, a)
		}
	}
	sort.Strings(list)
	return strings.Join(list, ",")
}
