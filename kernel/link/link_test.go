package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"skiff.dev/skiff/kernel/netns"
)

// TestHost holds the kernel and the fake against the same expectations.
func TestHost(t *testing.T) {
	t.Run("fake", func(t *testing.T) { testHost(t, &Fake{}, "/run/pod") })
	t.Run("kernel", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("needs root: makes network namespaces")
		}
		ns, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		pod, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer pod.Close()
		h, err := Open(ns)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		testHost(t, h, pod.Path())
	})
}

func testHost(t *testing.T, h Host, ns string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	gw := netip.MustParseAddr("10.9.0.1")
	a := Anchor{Name: "lt0", Addr: netip.PrefixFrom(gw, 24), Networks: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16")}, From: gw}
	for range 2 {
		must(h.Anchor(a))
	}
	p := Pair{Name: "lt-a", Inside: "eth0", Namespace: ns, MTU: 1400, Addr: netip.MustParseAddr("10.9.0.2"), From: gw, Gateway: gw, Localnet: true}
	must(h.Pair(p))
	if err := h.Pair(p); !errors.Is(err, ErrExists) {
		t.Errorf("the same pair again: %v", err)
	}
	names, err := h.Names("lt")
	must(err)
	if fmt.Sprint(names) != "[lt-a lt0]" {
		t.Errorf("names %v", names)
	}
	routes, err := h.Routes()
	must(err)
	for _, want := range []string{"10.8.0.0/16", "10.9.0.0/24", "10.9.0.2/32"} {
		found := false
		for _, r := range routes {
			found = found || r.String() == want
		}
		if !found {
			t.Errorf("routes %v lack %s", routes, want)
		}
	}
	for range 2 {
		must(h.Delete("lt-a"))
		must(h.Delete("lt0"))
	}
	if there, err := h.Exists("lt-a"); there || err != nil {
		t.Error(there, err)
	}
	if n, err := h.Forget(func(Flow) bool { return true }); n != 0 || err != nil {
		t.Error(n, err)
	}
}
