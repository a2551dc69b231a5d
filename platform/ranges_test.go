package platform

import (
	"net/netip"
	"strings"
	"testing"
)

func TestFreeRange(t *testing.T) {
	for _, c := range []struct {
		want   string
		choose bool
		taken  string
		got    string
		err    string
	}{
		{"10.244.0.0/16", true, "", "10.244.0.0/16", ""},
		{"10.244.0.0/16", true, "0.0.0.0/0", "10.244.0.0/16", ""},
		{"10.244.0.0/16", true, "10.244.0.0/24", "10.245.0.0/16", ""},
		{"10.244.0.0/16", true, "10.244.0.0/16 10.245.7.0/24", "10.246.0.0/16", ""},
		{"10.244.0.0/16", false, "10.244.9.1/32", "", "10.244.0.0/16 overlaps 10.244.9.1/32, which is in use"},
		{"10.244.0.0/16", true, "10.0.0.0/8", "", "no range of the size of 10.244.0.0/16 is free"},
		{"nonsense", true, "", "", "no '/'"},
	} {
		var taken []netip.Prefix
		for _, s := range strings.Fields(c.taken) {
			taken = append(taken, netip.MustParsePrefix(s))
		}
		got, err := freeRange(c.want, c.choose, taken)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%+v: error %v", c, err)
		case c.err == "" && (err != nil || got.String() != c.got):
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
}
