package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func id(n int) string { return fmt.Sprintf("%012x%052x", n+0xabc000000000, n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLifecycle goes through a container's day on the fake.
func TestLifecycle(t *testing.T) {
	m, ctx := NewFake(), t.Context()
	n, err := m.Create(ctx, Spec{Name: "lab", Options: map[string]string{optionName: "lab0"}})
	must(t, err)
	if n.IPAM.Config[0].Subnet.String() != "172.18.0.0/16" || n.IPAM.Config[0].Gateway.String() != "172.18.0.1" {
		t.Errorf("%+v", n.IPAM)
	}
	e := Endpoint{
		Container: id(1), Name: "web", NetNS: "/run/web", Hostname: "web1", Aliases: []string{"www"},
		Ports: []Port{{Protocol: TCP, Container: 80, First: 8080}, {Protocol: UDP, Container: 53}},
	}
	a, err := m.Connect(ctx, "lab", e)
	must(t, err)
	if a.IPv4.String() != "172.18.0.2/16" || a.Gateway4.String() != "172.18.0.1" || a.Interface != "eth0" ||
		a.MAC.String() != "02:42:ac:12:00:02" || fmt.Sprint(a.DNSNames) != "[web www "+id(1)[:12]+" web1]" {
		t.Errorf("%+v", a)
	}
	e2 := Endpoint{Container: id(2), Name: "other", NetNS: "/run/other", Ports: []Port{{Protocol: TCP, Container: 80, HostIP: netip.MustParseAddr("127.0.0.1"), First: 8080}}}
	_, err = m.Connect(ctx, "bridge", e2)
	if err == nil || !strings.HasSuffix(err.Error(), "Bind for 127.0.0.1:8080 failed: port is already allocated") {
		t.Errorf("a taken port: %v", err)
	}
	if n, _ := m.Get(ctx, "bridge"); len(n.Attached) != 0 || n.Usage[n.IPAM.Config[0].Subnet].InUse != 3 {
		t.Errorf("the failed container stays: %+v", n)
	}
	if _, err := m.Connect(ctx, "bridge", e); err != nil {
		t.Error(err)
	}
	nets, bound, err := m.Attached(ctx, id(1))
	must(t, err)
	if len(nets) != 2 || nets["bridge"].Interface != "eth1" || fmt.Sprint(bound) !=
		"[{tcp 80 0.0.0.0 8080} {tcp 80 :: 8080} {udp 53 0.0.0.0 32768} {udp 53 :: 32768}]" {
		t.Errorf("%+v %v", nets, bound)
	}
	// The default gateway is that of the network whose name comes first.
	if to := m.machine.(*fakeMachine).published[id(1)][0].To.String(); to != "172.17.0.2:80" {
		t.Error(to)
	}
	_, err = m.Remove(ctx, n.ID[:12])
	if err == nil || !strings.Contains(err.Error(), "network lab has active endpoints (name:\"web\" id:") || !errors.Is(err, errdefs.ErrPermissionDenied) {
		t.Error(err)
	}
	must(t, m.Disconnect(ctx, "bridge", id(1)))
	if to := m.machine.(*fakeMachine).published[id(1)][0].To.String(); to != "172.18.0.2:80" {
		t.Error(to)
	}
	must(t, m.Leave(ctx, id(1)))
	must(t, m.Leave(ctx, id(1)))
	_, err = m.Connect(ctx, "bridge", e2)
	must(t, err)
	gone, err := m.Prune(ctx, func(*Network) bool { return true })
	if err != nil || len(gone) != 1 || gone[0].Name != "lab" {
		t.Error(gone, err)
	}
	if _, err := m.Remove(ctx, "host"); err == nil || err.Error() != "host is a pre-defined network and cannot be removed" {
		t.Error(err)
	}
}
