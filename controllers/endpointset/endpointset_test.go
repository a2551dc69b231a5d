package endpointset

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func endpoints(from, to int) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for i := from; i < to; i++ {
		out = append(out, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)},
			TargetRef: &corev1.ObjectReference{UID: types.UID(fmt.Sprint(i))},
		})
	}
	return out
}

func slicesOf(named ...[]discoveryv1.Endpoint) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for i, e := range named {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: e}
		s.Name = fmt.Sprint("s", i)
		out = append(out, s)
	}
	return out
}

func sizes(all []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%s:%d", s.Name, len(s.Endpoints)))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func TestPack(t *testing.T) {
	for _, c := range []struct {
		name                   string
		want                   []discoveryv1.Endpoint
		have                   []*discoveryv1.EndpointSlice
		create, update, delete string
	}{
		{"nothing: one empty slice", nil, nil, "[:0]", "[]", "[]"},
		{"an empty slice stays", nil, slicesOf(nil), "[]", "[]", "[]"},
		{"of two empty ones one stays", nil, slicesOf(endpoints(0, 1), endpoints(1, 2)), "[]", "[s0:0]", "[s1:1]"},
		{"100 in a slice", endpoints(0, 250), nil, "[:100 :100 :50]", "[]", "[]"},
		{"nothing changes", endpoints(0, 50), slicesOf(endpoints(0, 50)), "[]", "[]", "[]"},
		{"one is added where there is room", endpoints(0, 150), slicesOf(endpoints(0, 100), endpoints(100, 149)), "[]", "[s1:50]", "[]"},
		{"a slice that changes anyway takes it", endpoints(1, 151), slicesOf(endpoints(0, 100), endpoints(100, 150)), "[]", "[s0:100]", "[]"},
		{"what is empty goes", endpoints(0, 100), slicesOf(endpoints(0, 100), endpoints(100, 150)), "[]", "[]", "[s1:50]"},
	} {
		var g Groups
		g.Add(discoveryv1.AddressTypeIPv4, nil, c.want...)
		p := Pack(&g, c.have, func(*discoveryv1.EndpointSlice) bool { return false })
		if sizes(p.Create) != c.create || sizes(p.Update) != c.update || sizes(p.Delete) != c.delete {
			t.Errorf("%s: create %s update %s delete %s", c.name, sizes(p.Create), sizes(p.Update), sizes(p.Delete))
		}
	}
}

// TestRecycle: the empty slice of a service that gets endpoints, and so ports, is
// written over, unless it is another owner's.
func TestRecycle(t *testing.T) {
	port, uid := int32(80), types.UID("new")
	shape := func(s *discoveryv1.EndpointSlice) bool {
		if s.Name == "" {
			s.OwnerReferences = []metav1.OwnerReference{{UID: uid}}
		}
		return false
	}
	for _, c := range []struct {
		owner                  types.UID
		create, update, delete string
	}{{"new", "[]", "[s0:2]", "[]"}, {"old", "[:2]", "[]", "[s0:0]"}} {
		have := slicesOf(nil)
		have[0].OwnerReferences = []metav1.OwnerReference{{UID: c.owner}}
		var g Groups
		g.Add(discoveryv1.AddressTypeIPv4, []discoveryv1.EndpointPort{{Port: &port}}, endpoints(0, 2)...)
		p := Pack(&g, have, shape)
		if sizes(p.Create) != c.create || sizes(p.Update) != c.update || sizes(p.Delete) != c.delete {
			t.Errorf("%s: create %s update %s delete %s", c.owner, sizes(p.Create), sizes(p.Update), sizes(p.Delete))
		}
		if len(p.Update) == 1 && len(p.Update[0].Ports) != 1 {
			t.Errorf("ports %v", p.Update[0].Ports)
		}
	}
}

func TestSubsets(t *testing.T) {
	port := func(n int32) *corev1.EndpointPort { return &corev1.EndpointPort{Port: n, Protocol: corev1.ProtocolTCP} }
	addr := func(ip string) corev1.EndpointAddress {
		return corev1.EndpointAddress{IP: ip, TargetRef: &corev1.ObjectReference{UID: types.UID(ip)}}
	}
	var s Subsets
	for _, ip := range []string{"10.0.0.10", "10.0.0.9"} {
		s.Add(addr(ip), port(80), true)
		s.Add(addr(ip), port(81), true)
	}
	s.Add(addr("10.0.0.1"), port(82), false)
	got := s.Pack()
	if len(got) != 2 || len(got[0].Ports) != 2 || got[0].Addresses[0].IP != "10.0.0.9" || len(got[1].NotReadyAddresses) != 1 {
		t.Fatalf("%+v", got)
	}
}

func TestTruncate(t *testing.T) {
	many := func(n int) []corev1.EndpointAddress { return make([]corev1.EndpointAddress, n) }
	s := []corev1.EndpointSubset{{Addresses: many(700), NotReadyAddresses: many(200)}, {Addresses: many(200), NotReadyAddresses: many(200)}}
	if !Truncate(s) {
		t.Fatal("not truncated")
	}
	if len(s[0].Addresses) != 700 || len(s[1].Addresses) != 200 || len(s[0].NotReadyAddresses) != 100 || s[1].NotReadyAddresses != nil {
		t.Fatalf("%d %d %d %d", len(s[0].Addresses), len(s[1].Addresses), len(s[0].NotReadyAddresses), len(s[1].NotReadyAddresses))
	}
	if Truncate(s) {
		t.Fatal("truncated twice")
	}
}

func TestPort(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 1, Protocol: "TCP"}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 2, Protocol: "TCP"}}},
		},
		Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "dns", ContainerPort: 53, Protocol: "UDP"}, {Name: "dns", ContainerPort: 54, Protocol: "TCP"}}}},
	}}
	for _, c := range []struct {
		target intstr.IntOrString
		want   int32
	}{{intstr.FromInt32(9), 9}, {intstr.FromString("dns"), 54}, {intstr.FromString("side"), 2}, {intstr.FromString("init"), 0}} {
		got, err := Port(p, &corev1.ServicePort{Protocol: "TCP", TargetPort: c.target})
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%v: %d %v", c.target, got, err)
		}
	}
}
