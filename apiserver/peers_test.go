package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

// TestPeers: servers find each other by their records; one that renews its no more is
// left out after its life, whatever the clocks of the others say, and comes back.
func TestPeers(t *testing.T) {
	ctx := context.Background()
	s := mem.New()
	clocks := [3]time.Time{time.Unix(1000, 0), time.Unix(5_000_000, 0), time.Unix(0, 0)}
	var all [3]*peers
	for i := range all {
		all[i] = &peers{store: s, now: func() time.Time { return clocks[i] }, self: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:6443", i+1))}
	}
	round := func(i int, want string) {
		t.Helper()
		alive, err := all[i].round(ctx)
		if got := fmt.Sprint(alive); err != nil || got != want {
			t.Errorf("server %d sees %s, want %s: %v", i+1, got, want, err)
		}
	}
	pass := func(d time.Duration) {
		for i := range clocks {
			clocks[i] = clocks[i].Add(d)
		}
	}
	round(0, "[10.0.0.1:6443]")
	round(1, "[10.0.0.1:6443 10.0.0.2:6443]")
	round(2, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	round(0, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	pass(peerLife - time.Second) // the second says nothing more
	round(0, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	round(2, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	pass(time.Second)
	round(0, "[10.0.0.1:6443 10.0.0.3:6443]")
	round(2, "[10.0.0.1:6443 10.0.0.3:6443]")
	round(1, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	round(0, "[10.0.0.1:6443 10.0.0.2:6443 10.0.0.3:6443]")
	if err := all[2].leave(ctx); err != nil {
		t.Fatal(err)
	}
	round(0, "[10.0.0.1:6443 10.0.0.2:6443]")
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: peersRoot + "nonsense"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].round(ctx); err == nil {
		t.Error("a record that names no address is passed over")
	}
}

func TestEndpointsOfServers(t *testing.T) {
	var all []netip.AddrPort
	for _, s := range []string{"10.0.0.3:6443", "10.0.0.1:7443", "10.0.0.2:6443"} {
		all = append(all, netip.MustParseAddrPort(s))
	}
	objs := kubernetesEndpoints(all)
	got := ""
	//lint:ignore SA1019 what is written
	for _, s := range objs[0].(*corev1.Endpoints).Subsets {
		for _, a := range s.Addresses {
			got += a.IP + " "
		}
		got += fmt.Sprint(s.Ports[0].Port, "; ")
	}
	if want := "10.0.0.2 10.0.0.3 6443; 10.0.0.1 7443; "; got != want {
		t.Errorf("endpoints %s, want %s", got, want)
	}
	slice := objs[1].(*discoveryv1.EndpointSlice)
	if len(slice.Endpoints) != 2 || slice.Endpoints[0].Addresses[0] != "10.0.0.2" || *slice.Ports[0].Port != 6443 {
		t.Errorf("slice %+v", slice)
	}
}
