package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestPool(t *testing.T) {
	p := newPool(Pool{
		Subnet: netip.MustParsePrefix("10.211.0.0/16"), Range: netip.MustParsePrefix("10.211.5.0/24"),
		Gateway: netip.MustParseAddr("10.211.0.254"), Aux: map[string]netip.Addr{"host1": netip.MustParseAddr("10.211.5.9")},
	})
	if u := p.usage(); u != (Usage{InUse: 4, Available: 255}) {
		t.Errorf("%+v", u)
	}
	if a, err := p.next(); err != nil || a.String() != "10.211.5.0" {
		t.Error(a, err)
	}
	small := newPool(Pool{Subnet: netip.MustParsePrefix("10.0.0.0/29"), Gateway: netip.MustParseAddr("10.0.0.1")})
	var got []string
	for range 6 {
		a, err := small.next()
		got = append(got, a.String())
		if err != nil {
			got[len(got)-1] = "full"
		}
	}
	if fmt.Sprint(got) != "[10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 full]" {
		t.Error(got)
	}
	small.release(netip.MustParseAddr("10.0.0.3"))
	if a, _ := small.next(); a.String() != "10.0.0.3" {
		t.Error(a)
	}
	big := newPool(Pool{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1")})
	if u := big.usage(); u.Available != 1<<64-2 {
		t.Errorf("%+v", u)
	}
}

// TestRanges: what is in use is passed over, and the end is an error.
func TestRanges(t *testing.T) {
	taken := []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/19")}
	r, err := freeRange(taken)
	if err != nil || r.String() != "192.168.32.0/20" {
		t.Error(r, err)
	}
	if _, err := freeRange(append(taken, netip.MustParsePrefix("192.168.0.0/16"))); err == nil {
		t.Error("a range was found")
	}
	site := siteOf([32]byte{1, 2, 3, 4, 5})
	if r, err := freeRange6(site, []netip.Prefix{netip.PrefixFrom(site.Addr(), 64)}); err != nil || r.String() != "fd01:203:405:1::/64" {
		t.Error(r, err)
	}
}

// TestRefused are specifications that make no network, with Docker's words.
func TestRefused(t *testing.T) {
	pool := func(subnet, rng, gateway string) IPAM {
		var p Pool
		p.Subnet, _ = netip.ParsePrefix(subnet)
		p.Range, _ = netip.ParsePrefix(rng)
		p.Gateway, _ = netip.ParseAddr(gateway)
		return IPAM{Config: []Pool{p}}
	}
	m := NewFake()
	_, err := m.Create(t.Context(), Spec{Name: "there", IPAM: pool("10.9.0.0/16", "", ""), Options: map[string]string{optionName: "br9"}})
	must(t, err)
	no := false
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{}, "name is empty"},
		{Spec{Name: "a/b"}, "invalid name"},
		{Spec{Name: "host"}, "predefined host network"},
		{Spec{Name: "x", Driver: "null"}, `only one instance of "null" network is allowed`},
		{Spec{Name: "x", Driver: "weird"}, `plugin "weird" not found`},
		{Spec{Name: "x", IPv4: &no}, "IPv4 or IPv6 must be enabled"},
		{Spec{Name: "there"}, "network with name there already exists"},
		{Spec{Name: "x", IPAM: pool("10.9.7.0/24", "", "")}, "Pool overlaps with other one on this address space"},
		{Spec{Name: "x", IPAM: pool("10.0.0.5/24", "", "")}, "invalid subnet 10.0.0.5/24: it should be 10.0.0.0/24"},
		{Spec{Name: "x", IPAM: pool("", "", "10.0.0.1")}, "invalid gateway 10.0.0.1: parent subnet invalid Prefix doesn't contain this address"},
		{Spec{Name: "x", IPAM: pool("10.0.0.0/24", "10.1.0.0/25", "")}, "parent subnet 10.0.0.0/24 doesn't contain ip-range"},
		{Spec{Name: "x", Options: map[string]string{optionName: "br9"}}, "networks have same bridge name"},
		{Spec{Name: "x", Options: map[string]string{optionName: "../x"}}, "invalid bridge name"},
		{Spec{Name: "x", Options: map[string]string{optionICC: "perhaps"}}, "failed to parse com.docker.network.bridge.enable_icc value: perhaps"},
		{Spec{Name: "x", ConfigFrom: "there"}, `"there" is not a configuration network`},
	} {
		if _, err := m.Create(t.Context(), c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.s, err, c.want)
		}
	}
	if all, _ := m.List(t.Context()); len(all) != 4 {
		t.Errorf("%d networks", len(all))
	}
}

// FuzzCreate makes networks of what clients may send, and connects containers until
// they are full or a few are in.
func FuzzCreate(f *testing.F) {
	f.Add([]byte(`{"IPv6":true,"IPAM":{"Config":[{"Subnet":"10.0.0.0/30"},{"Subnet":"fd00::/126","Gateway":"fd00::1"}]}}`))
	f.Add([]byte(`{"IPAM":{"Config":[{"Subnet":"0.0.0.0/0","Range":"10.0.0.0/8","Aux":{"x":"10.0.0.0"}}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s Spec
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		s.Name = "fuzz"
		m := NewFake()
		n, err := m.Create(context.Background(), s)
		if err != nil {
			return
		}
		seen := map[netip.Addr]bool{}
		for i := range 5 {
			a, err := m.Connect(context.Background(), "fuzz", Endpoint{Container: id(i), Name: "c"})
			if err != nil {
				break
			}
			for _, p := range []netip.Prefix{a.IPv4, a.IPv6} {
				if p.IsValid() && seen[p.Addr()] {
					t.Fatalf("%s is given twice in %+v", p, n)
				}
				seen[p.Addr()] = true
			}
		}
	})
}
