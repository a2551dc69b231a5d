package alloc

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
)

func service(t v1.ServiceType, ports ...int32) *v1.Service {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: v1.ServiceSpec{Type: t, Selector: map[string]string{"a": "b"}}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, v1.ServicePort{Name: string(rune('a' + len(s.Spec.Ports))), Port: p})
	}
	return s
}

func small(t *testing.T) *Services {
	t.Helper()
	s, err := NewServices(netip.MustParsePrefix("10.0.0.0/28"), 30000, 30003)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep tells the allocator that s, which may be nil, is stored in old's place.
func keep(a *Services, s, old *v1.Service) {
	ev := kinds.Event{}
	if s != nil {
		ev.New = s.DeepCopy()
	}
	if old != nil {
		ev.Old = old.DeepCopy()
	}
	a.Apply(ev)
}

// TestUnique holds that concurrent services never share an address, that the range
// ends, and that what is given back can be had again.
func TestUnique(t *testing.T) {
	a := small(t)
	var mu sync.Mutex
	seen := map[string]*v1.Service{}
	full := 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s := service(v1.ServiceTypeClusterIP, 80)
			done, err := a.Begin(context.Background(), s, nil, false)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				full++
				return
			}
			keep(a, s, nil)
			done(true)
			if seen[s.Spec.ClusterIP] != nil {
				t.Errorf("%s was given twice", s.Spec.ClusterIP)
			}
			seen[s.Spec.ClusterIP] = s
		})
	}
	wg.Wait()
	if len(seen) != 14 || full != 6 {
		t.Fatalf("%d addresses and %d refusals, want 14 and 6", len(seen), full)
	}
	for _, s := range seen {
		keep(a, nil, s)
		break
	}
	if _, err := a.Begin(context.Background(), service(v1.ServiceTypeClusterIP, 80), nil, false); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

func TestLifeOfOneService(t *testing.T) {
	a := small(t)
	ctx := context.Background()
	s := service(v1.ServiceTypeNodePort, 80, 443)
	done, err := a.Begin(ctx, s, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	keep(a, s, nil)
	done(true)
	if s.Spec.ClusterIP == "" || len(s.Spec.ClusterIPs) != 1 || s.Spec.Ports[0].NodePort == 0 || s.Spec.Ports[0].NodePort == s.Spec.Ports[1].NodePort {
		t.Fatalf("allocated: %+v", s.Spec)
	}
	// An update that names nothing keeps everything.
	again := service(v1.ServiceTypeNodePort, 80, 443)
	if done, err = a.Begin(ctx, again, s, false); err != nil {
		t.Fatal(err)
	}
	keep(a, again, s)
	done(true)
	if again.Spec.ClusterIP != s.Spec.ClusterIP || again.Spec.Ports[1].NodePort != s.Spec.Ports[1].NodePort {
		t.Errorf("an update lost what was allocated: %+v", again.Spec)
	}
	// Someone else cannot have its port; a dry run takes nothing.
	other := service(v1.ServiceTypeNodePort, 80)
	other.Spec.Ports[0].NodePort = s.Spec.Ports[0].NodePort
	if _, err := a.Begin(ctx, other, nil, true); err == nil {
		t.Error("a node port was given twice")
	}
	for range 10 {
		if _, err := a.Begin(ctx, service(v1.ServiceTypeNodePort, 1, 2), nil, true); err != nil {
			t.Fatalf("dry run: %v", err)
		}
	}
	// Becoming external gives everything back.
	ext := service(v1.ServiceTypeExternalName)
	if done, err = a.Begin(ctx, ext, again, false); err != nil {
		t.Fatal(err)
	}
	keep(a, ext, again)
	done(true)
	if _, err := a.Begin(ctx, service(v1.ServiceTypeNodePort, 1, 2, 3, 4), nil, false); err != nil {
		t.Errorf("node ports were not given back: %v", err)
	}
}

// TestReserve: what a service comes to hold is guarded and written, what it gives up
// is deleted, what it keeps is left alone.
func TestReserve(t *testing.T) {
	a := small(t)
	with := func(ip string, ports ...int32) *v1.Service {
		s := service(v1.ServiceTypeNodePort, ports...)
		s.Namespace = "d"
		s.Spec.ClusterIP, s.Spec.ClusterIPs = ip, []string{ip}
		for i, p := range ports {
			s.Spec.Ports[i].NodePort = p
		}
		return s
	}
	const root = "/skiff/reserved/services/"
	for name, c := range map[string]struct {
		obj, old kinds.Object
		want     string
	}{
		"new":       {with("10.0.0.5", 30001), nil, "?address/10.0.0.5 ?port/30001 +address/10.0.0.5=d/s +port/30001=d/s "},
		"kept":      {with("10.0.0.5", 30001), with("10.0.0.5", 30001), ""},
		"changed":   {with("10.0.0.5", 30002), with("10.0.0.5", 30001), "?port/30002 +port/30002=d/s -port/30001 "},
		"gone":      {nil, with("10.0.0.5", 30001), "-address/10.0.0.5 -port/30001 "},
		"headless":  {with(v1.ClusterIPNone), nil, ""},
		"no number": {service(v1.ServiceTypeExternalName), nil, ""},
	} {
		guards, ops := a.Reserve(c.obj, c.old)
		got := ""
		for _, g := range guards {
			if g.ModRevision != 0 {
				t.Errorf("%s: a guard that is not for absence", name)
			}
			got += "?" + strings.TrimPrefix(g.Key, root) + " "
		}
		for _, op := range ops {
			key := strings.TrimPrefix(op.Key, root)
			if op.Delete {
				got += "-" + key + " "
			} else {
				got += "+" + key + "=" + string(op.Value) + " "
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
