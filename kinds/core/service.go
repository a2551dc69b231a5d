package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// service describes Services. Cluster addresses, node ports and IP families are
// given by the API server, which calls Default first and Validate after.
func service() *kinds.Kind {
	k := newKind[v1.Service, v1.ServiceList]("services", true, "svc")
	k.Categories = []string{"all"}
	k.Name = rules.DNSLabel
	k.AllowCreateOnUpdate = true
	k.Default = rules.Do(defaultService)
	// Kubernetes leaves it out where a service is read.
	k.Settle = rules.Do(func(s *v1.Service) {
		if s.Spec.Type == v1.ServiceTypeExternalName {
			s.Spec.InternalTrafficPolicy = nil
		}
	})
	k.PrepareCreate = rules.Do(func(s *v1.Service) { s.Status = v1.ServiceStatus{} })
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.Service) {
		obj.Status = old.Status
		dropTypeDependent(obj, old)
	})
	k.Validate = rules.Check(validateService)
	k.ValidateUpdate = rules.Check2(validateServiceUpdate)
	k.Warnings = rules.Warn(serviceWarnings)
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(func(obj, old *v1.Service) { obj.Spec = old.Spec }),
			ValidateUpdate: rules.Check2(validateServiceStatus),
			Reset:          []string{"spec"},
		},
		"proxy": {Verbs: proxyVerbs(), Kind: coreGVK("ServiceProxyOptions")},
	}
	doc := v1.ServiceSpec{}.SwaggerDoc()
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Type", doc["type"]),
		rules.Column("Cluster-IP", doc["clusterIP"]),
		rules.Column("External-IP", doc["externalIPs"]),
		rules.Column("Port(s)", doc["ports"]),
		rules.AgeColumn(),
		rules.Wide(rules.Column("Selector", doc["selector"])),
	}
	k.Cells = rules.Cells(serviceCells)
	k.Fields = map[string]func(kinds.Object) string{
		"spec.clusterIP": rules.Field(func(s *v1.Service) string { return s.Spec.ClusterIP }),
		"spec.type":      rules.Field(func(s *v1.Service) string { return string(s.Spec.Type) }),
	}
	return k
}

func defaultService(s *v1.Service) {
	spec := &s.Spec
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = v1.ServiceAffinityNone
	}
	switch c := spec.SessionAffinityConfig; {
	case spec.SessionAffinity == v1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case spec.SessionAffinity == v1.ServiceAffinityClientIP && (c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil):
		spec.SessionAffinityConfig = &v1.SessionAffinityConfig{
			ClientIP: &v1.ClientIPConfig{TimeoutSeconds: ptr.To(v1.DefaultClientIPServiceAffinitySeconds)},
		}
	}
	if spec.Type == "" {
		spec.Type = v1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = v1.ProtocolTCP
		}
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) && spec.ExternalTrafficPolicy == "" {
		spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyCluster
	}
	if spec.InternalTrafficPolicy == nil && (spec.Type == v1.ServiceTypeClusterIP || usesNodePorts(s)) {
		spec.InternalTrafficPolicy = ptr.To(v1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type != v1.ServiceTypeLoadBalancer {
		return
	}
	if spec.AllocateLoadBalancerNodePorts == nil {
		spec.AllocateLoadBalancerNodePorts = ptr.To(true)
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" && in.IPMode == nil {
			in.IPMode = ptr.To(v1.LoadBalancerIPModeVIP)
		}
	}
}

func externallyAccessible(s *v1.Service) bool {
	return usesNodePorts(s) || s.Spec.Type == v1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

func usesNodePorts(s *v1.Service) bool {
	return s.Spec.Type == v1.ServiceTypeNodePort || s.Spec.Type == v1.ServiceTypeLoadBalancer
}

func usesHealthCheckPort(s *v1.Service) bool {
	return s.Spec.Type == v1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal
}

// dropTypeDependent wipes what a change of type leaves without meaning, unless the
// request also changed it (validation answers that).
func dropTypeDependent(obj, old *v1.Service) {
	n, o := &obj.Spec, &old.Spec
	if o.Type != v1.ServiceTypeExternalName && n.Type == v1.ServiceTypeExternalName {
		if n.ClusterIP == o.ClusterIP && slices.Equal(n.ClusterIPs, o.ClusterIPs) {
			n.ClusterIP, n.ClusterIPs = "", nil
		}
		if slices.Equal(n.IPFamilies, o.IPFamilies) {
			n.IPFamilies = nil
		}
		if ptr.Deref(n.IPFamilyPolicy, "") == ptr.Deref(o.IPFamilyPolicy, "") {
			n.IPFamilyPolicy = nil
		}
	}
	if usesNodePorts(old) && !usesNodePorts(obj) && !hasNewNodePort(n.Ports, o.Ports) {
		for i := range n.Ports {
			n.Ports[i].NodePort = 0
		}
	}
	if usesHealthCheckPort(old) && !usesHealthCheckPort(obj) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if o.Type == v1.ServiceTypeLoadBalancer && n.Type != v1.ServiceTypeLoadBalancer {
		if a, b := n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts; a != nil && b != nil && *a == *b {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(n.LoadBalancerClass, o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(obj) && n.ExternalTrafficPolicy == o.ExternalTrafficPolicy {
		n.ExternalTrafficPolicy = ""
	}
	if n.Type != v1.ServiceTypeLoadBalancer {
		obj.Status.LoadBalancer = v1.LoadBalancerStatus{}
	}
}

func hasNewNodePort(ports, old []v1.ServicePort) bool {
	for _, p := range ports {
		if p.NodePort != 0 && !slices.ContainsFunc(old, func(o v1.ServicePort) bool { return o.NodePort == p.NodePort }) {
			return true
		}
	}
	return false
}

func serviceCells(s *v1.Service, now time.Time) []any {
	clusterIP := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	return []any{s.Name, string(s.Spec.Type), clusterIP, externalIPCell(s), rules.OrNone(portsCell(s.Spec.Ports)),
		rules.Age(s.CreationTimestamp, now), labels.FormatLabels(s.Spec.Selector)}
}

func externalIPCell(s *v1.Service) string {
	switch s.Spec.Type {
	case v1.ServiceTypeClusterIP, v1.ServiceTypeNodePort:
		if len(s.Spec.ExternalIPs) == 0 {
			return "<none>"
		}
		return strings.Join(s.Spec.ExternalIPs, ",")
	case v1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if addr := rules.Or(in.IP, in.Hostname); addr != "" {
				all = append(all, addr)
			}
		}
		slices.Sort(all)
		all = append(slices.Compact(all), s.Spec.ExternalIPs...)
		return rules.Or(strings.Join(all, ","), "<pending>")
	case v1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return "<unknown>"
}

func portsCell(ports []v1.ServicePort) string {
	out := make([]string, len(ports))
	for i, p := range ports {
		if out[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol); p.NodePort > 0 {
			out[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return strings.Join(out, ",")
}
