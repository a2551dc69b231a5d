package endpointslice

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/endpoints"
	"skiff.dev/skiff/controllers/endpointslicemirroring"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func service(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.9", Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func backend(name, app, ip string, port int32, ready bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

// show lists the slices of a service as "port: address ready/serving/terminating".
func show(w *looptest.World, name string) string {
	var list discoveryv1.EndpointSliceList
	if err := w.Client.List(w.Ctx, &list, crclient.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		w.T.Fatal(err)
	}
	out := ""
	for _, s := range list.Items {
		out += "["
		for _, p := range s.Ports {
			out += fmt.Sprint(*p.Port, ":")
		}
		for _, e := range s.Endpoints {
			is := func(b *bool) string {
				switch {
				case b == nil:
					return "-"
				case *b:
					return "y"
				}
				return "n"
			}
			out += " " + e.Addresses[0] + " " + is(e.Conditions.Ready) + is(e.Conditions.Serving) + is(e.Conditions.Terminating)
		}
		out += "]"
	}
	return out
}

func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, endpoints.Start)
		w.Create(service("web", nil))
		w.Settle()
		if got := show(w, "web"); got != "[]" {
			t.Fatalf("without pods: %s", got)
		}
		a, b := backend("a", "web", "10.0.0.1", 8080, true), backend("b", "web", "10.0.0.2", 8080, false)
		w.Create(a, b, backend("c", "web", "10.0.0.3", 9090, true), backend("x", "other", "10.0.0.4", 8080, true))
		w.Settle()
		if got := show(w, "web"); got != "[8080: 10.0.0.1 yyn 10.0.0.2 nnn][9090: 10.0.0.3 yyn]" {
			t.Fatalf("with pods: %s", got)
		}
		ep := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
		w.Get(ep)
		if len(ep.Subsets) != 2 || ep.Subsets[0].Addresses[0].IP != "10.0.0.1" || ep.Subsets[0].NotReadyAddresses[0].IP != "10.0.0.2" || ep.Labels["endpoints.kubernetes.io/managed-by"] != "endpoint-controller" {
			t.Fatalf("endpoints %+v %v", ep.Subsets, ep.Labels)
		}
		w.Delete(a)
		w.Settle()
		if got := show(w, "web"); got != "[8080: 10.0.0.1 nyy 10.0.0.2 nnn][9090: 10.0.0.3 yyn]" {
			t.Fatalf("with a pod that ends: %s", got)
		}
		w.Get(ep)
		if len(ep.Subsets) != 2 || len(ep.Subsets[0].Addresses) != 0 {
			t.Fatalf("endpoints with a pod that ends %+v", ep.Subsets)
		}
		// Somebody takes a slice away: it comes back.
		var list discoveryv1.EndpointSliceList
		if err := w.Client.List(w.Ctx, &list); err != nil {
			t.Fatal(err)
		}
		w.Delete(&list.Items[0])
		w.Settle()
		if got := show(w, "web"); len(got) < 40 {
			t.Fatalf("after a slice was deleted: %s", got)
		}
		w.Delete(service("web", nil))
		w.Settle()
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(ep), ep); crclient.IgnoreNotFound(err) != nil || err == nil {
			t.Fatalf("endpoints of a service that is gone: %v", err)
		}
	})
}

func TestHeadlessAndNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		p := backend("a", "db", "10.0.0.1", 8080, false)
		p.Spec.Hostname, p.Spec.Subdomain = "first", "db"
		w.Create(p, service("db", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.Ports, s.Spec.PublishNotReadyAddresses = corev1.ClusterIPNone, nil, true
		}))
		w.Settle()
		var list discoveryv1.EndpointSliceList
		if err := w.Client.List(w.Ctx, &list); err != nil {
			t.Fatal(err)
		}
		s := list.Items[0]
		e := s.Endpoints[0]
		if _, ok := s.Labels[corev1.IsHeadlessService]; !ok || !*e.Conditions.Ready || *e.Conditions.Serving || e.Hostname == nil || *e.Hostname != "first" || len(s.Ports) != 0 {
			t.Fatalf("%+v %+v", s.Labels, e)
		}
	})
}

func TestMirroring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, endpoints.Start, endpointslicemirroring.Start)
		w.Create(service("ext", func(s *corev1.Service) { s.Spec.Selector = nil }))
		ep := &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext", Annotations: map[string]string{"note": "kept"}},
			Subsets: []corev1.EndpointSubset{{
				Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}, {IP: "not an address"}},
				Ports:     []corev1.EndpointPort{{Name: "sql", Port: 3306, Protocol: corev1.ProtocolTCP}},
			}},
		}
		w.Create(ep)
		w.Settle()
		if got := show(w, "ext"); got != "[3306: 192.0.2.1 y--]" {
			t.Fatalf("mirrored: %s", got)
		}
		looptest.Update(w, ep, func(e *corev1.Endpoints) {
			e.Subsets[0].Addresses = e.Subsets[0].Addresses[:1]
			e.Subsets[0].Addresses[0].IP = "192.0.2.2"
		})
		w.Settle()
		if got := show(w, "ext"); got != "[3306: 192.0.2.2 y--]" {
			t.Fatalf("after a change: %s", got)
		}
		// Endpoints that somebody wrote stay without a service until one has come and gone.
		early := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "early"}}
		w.Create(early)
		w.Settle()
		w.Get(early)
		w.Delete(service("ext", nil))
		w.Settle()
		if got := show(w, "ext"); got != "" {
			t.Fatalf("after the end: %s", got)
		}
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(ep), ep); err == nil {
			t.Fatal("Endpoints outlived their service")
		}
	})
}
