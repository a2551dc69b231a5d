package apiserver

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff.dev/skiff/kinds"
)

const kubernetesName = "kubernetes"

// kubernetesService is the service by which pods reach the API (controlplane,
// kubernetesservice controller).
func kubernetesService(ip netip.Addr, port int32) kinds.Object {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip.String(), ClusterIPs: []string{ip.String()},
			SessionAffinity: corev1.ServiceAffinityNone, Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(port)}},
		},
	}
}

// kubernetesEndpoints say where the API is: at the addresses of all servers. A slice
// has one port for all of its addresses: it lists the servers at the port of most.
func kubernetesEndpoints(all []netip.AddrPort) []kinds.Object {
	meta := metav1.ObjectMeta{
		Name: kubernetesName, Namespace: metav1.NamespaceDefault,
		Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}
	slice := meta.DeepCopy()
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: kubernetesName}
	name, tcp, ready := "https", corev1.ProtocolTCP, true
	groups := byPort(all)
	//lint:ignore SA1019 old clients read Endpoints
	old := &corev1.Endpoints{ObjectMeta: meta}
	for _, g := range groups {
		//lint:ignore SA1019 see above
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: name, Port: int32(g[0].Port()), Protocol: tcp}}}
		for _, at := range g {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: at.Addr().String()})
		}
		old.Subsets = append(old.Subsets, subset)
	}
	port, family := int32(groups[0][0].Port()), discoveryv1.AddressTypeIPv4
	if groups[0][0].Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	current := &discoveryv1.EndpointSlice{
		ObjectMeta: *slice, AddressType: family,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	for _, at := range groups[0] {
		current.Endpoints = append(current.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{at.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return []kinds.Object{old, current}
}
