package link

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skiff.dev/skiff/kernel/namespace"
	"skiff.dev/skiff/kernel/netns"
)

// A port is up when Plug returns, and has neither an address of IPv6 nor a route.
func TestPortHasNoAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	host, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	box := filepath.Join(t.TempDir(), "box")
	if err := namespace.Pin(box, namespace.Spec{Net: true}); err != nil {
		t.Fatal(err)
	}
	defer namespace.Unpin(box) //nolint:errcheck // the test has told what matters
	k, err := OpenBridges(host)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.Bridge(Bridge{Name: "br", MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.80.1/24")}}); err != nil {
		t.Fatal(err)
	}
	p := Plug{Name: "port", Bridge: "br", Inside: "eth0", Namespace: filepath.Join(box, namespace.Net), MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.80.2/24")}}
	if err := k.Plug(p); err != nil {
		t.Fatal(err)
	}
	all, err := k.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == "port" && (!i.Up || i.Master == 0) {
			t.Errorf("%+v", i)
		}
	}
	err = host.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/if_inet6", "/proc/thread-self/net/ipv6_route"} {
			b, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				continue // a machine without IPv6
			}
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); f[len(f)-1] == "port" {
					t.Errorf("%s: %s", file, line)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
