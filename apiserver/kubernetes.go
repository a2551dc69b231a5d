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

// kubernetesEndpoints say where the API is.
func kubernetesEndpoints(at netip.AddrPort) []kinds.Object {
	meta := metav1.ObjectMeta{
		Name: kubernetesName, Namespace: metav1.NamespaceDefault,
		Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}
	ip, port := at.Addr().String(), int32(at.Port())
	slice := meta.DeepCopy()
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: kubernetesName}
	name, tcp, ready := "https", corev1.ProtocolTCP, true
	family := discoveryv1.AddressTypeIPv4
	if at.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	return []kinds.Object{
		&corev1.Endpoints{ //nolint:staticcheck // old clients read Endpoints
			ObjectMeta: meta,
			Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // see above
				Addresses: []corev1.EndpointAddress{{IP: ip}},                             //nolint:staticcheck // see above
				Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: tcp}}, //nolint:staticcheck // see above
			}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: *slice, AddressType: family,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
			Ports:     []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		},
	}
}
