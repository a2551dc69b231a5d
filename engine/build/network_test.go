package build

import (
	"context"
	"net/netip"
	"testing"
)

type fakeNetwork struct{ gateway netip.Addr }

func (fakeNetwork) Join(context.Context, string) (string, func() error, error) {
	return "", func() error { return nil }, nil
}

func (f fakeNetwork) Gateway() (netip.Addr, error) { return f.gateway, nil }

func TestHostGateway(t *testing.T) {
	b := &Builder{o: Options{Network: fakeNetwork{netip.MustParseAddr("172.17.0.1")}}}
	for in, want := range map[string]string{
		"":                             "",
		"a=10.0.0.1":                   "a=10.0.0.1",
		"a=host-gateway":               "a=172.17.0.1",
		"a=10.0.0.1,host=host-gateway": "a=10.0.0.1,host=172.17.0.1",
		"host-gateway=10.0.0.1":        "host-gateway=10.0.0.1",
	} {
		attrs := map[string]string{"add-hosts": in}
		if err := b.nameGateway(attrs); err != nil || attrs["add-hosts"] != want {
			t.Errorf("%q: %q %v, want %q", in, attrs["add-hosts"], err, want)
		}
	}
	b = &Builder{}
	if err := b.nameGateway(map[string]string{"add-hosts": "a=host-gateway"}); err == nil {
		t.Error("a gateway of the machine's own network was given")
	}
}
