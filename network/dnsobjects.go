package network

import (
	"net/netip"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DNSNamespace and DNSName are where users look for the cluster's DNS.
const (
	DNSNamespace = "kube-system"
	DNSName      = "kube-dns"
)

// DNSService is the cluster's DNS as users find it. It has no selector: every node
// answers itself, and DNSSlice says where. A user who gives it a selector brings a
// DNS of their own.
func DNSService(clusterIP netip.Addr) *v1.Service {
	local := v1.ServiceInternalTrafficPolicyLocal
	return &v1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: DNSNamespace, Name: DNSName,
			Labels: map[string]string{
				"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
			},
		},
		Spec: v1.ServiceSpec{
			Type: v1.ServiceTypeClusterIP, ClusterIP: clusterIP.String(), ClusterIPs: []string{clusterIP.String()},
			InternalTrafficPolicy: &local,
			Ports: []v1.ServicePort{
				{Name: "dns", Protocol: v1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: v1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}
}

// DNSSlice says where a node answers: at addr, on port of UDP and TCP. Each node
// writes its own.
func DNSSlice(node string, addr netip.Addr, port int) *discoveryv1.EndpointSlice {
	udp, tcp, yes, no := v1.ProtocolUDP, v1.ProtocolTCP, true, false
	n, dns, dnsTCP := int32(port), "dns", "dns-tcp"
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: DNSNamespace, Name: DNSName + "-" + node,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: DNSName, discoveryv1.LabelManagedBy: "skiff-dns", "k8s-app": "kube-dns",
			},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{addr.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		}},
		Ports: []discoveryv1.EndpointPort{
			{Name: &dns, Protocol: &udp, Port: &n}, {Name: &dnsTCP, Protocol: &tcp, Port: &n},
		},
	}
}
