package nodeipam

import (
	"net/netip"
	"testing"
)

func TestNext(t *testing.T) {
	for _, c := range []struct {
		pool  string
		bits  int
		taken []string
		want  string
	}{
		{"10.244.0.0/16", 24, nil, "10.244.0.0/24"},
		{"10.244.0.0/16", 24, []string{"10.244.0.0/24", "10.244.2.0/24"}, "10.244.1.0/24"},
		{"10.244.0.0/23", 24, []string{"10.244.0.0/24", "10.244.1.0/24"}, ""},
		{"10.244.0.0/16", 24, []string{"10.244.0.0/22"}, "10.244.4.0/24"},
		{"255.255.255.0/24", 25, []string{"255.255.255.0/25", "255.255.255.128/25"}, ""},
		{"fd00::/48", 64, []string{"fd00::/64"}, "fd00:0:0:1::/64"},
		{"fd00::/60", 63, []string{"fd00::/63"}, "fd00:0:0:2::/63"},
	} {
		taken := map[netip.Prefix]bool{}
		for _, s := range c.taken {
			taken[netip.MustParsePrefix(s)] = true
		}
		got, ok := next(netip.MustParsePrefix(c.pool), c.bits, taken)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%+v: %v %v", c, got, ok)
		}
	}
}
