package platform

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/kernel/netns"
)

// buildNetwork connects the containers of builds to Docker's default bridge. Its
// networks open after the builder, with the Docker API's other areas.
type buildNetwork struct {
	mu   sync.Mutex
	nets bridge.Networks
}

func (b *buildNetwork) set(nets bridge.Networks) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nets = nets
}

var errNoNetworks = errors.New("the networks of Docker are not open")

func (b *buildNetwork) networks() (bridge.Networks, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nets == nil {
		return nil, errNoNetworks
	}
	return b.nets, nil
}

// Join implements build.Network. The namespace is held by this process alone: it ends
// with the process and the container, and what the bridge has of it is taken away by
// the networks' next Restore.
func (b *buildNetwork) Join(ctx context.Context, hostname string) (path string, leave func() error, err error) {
	nets, err := b.networks()
	if err != nil {
		return "", nil, err
	}
	ns, err := netns.New()
	if err != nil {
		return "", nil, err
	}
	var id [32]byte
	rand.Read(id[:])
	e := bridge.Endpoint{Container: hex.EncodeToString(id[:]), Hostname: hostname}
	e.Name = "build-" + e.Container[:12]
	// The runtime is another process, for which /proc/self is its own.
	e.NetNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD())
	leave = func() error {
		return errors.Join(nets.Leave(context.WithoutCancel(ctx), e.Container), ns.Close())
	}
	if _, err := nets.Connect(ctx, bridge.NameBridge, e); err != nil {
		return "", nil, errors.Join(err, leave())
	}
	return e.NetNS, leave, nil
}

// Gateway implements build.Network.
func (b *buildNetwork) Gateway() (netip.Addr, error) {
	nets, err := b.networks()
	if err != nil {
		return netip.Addr{}, err
	}
	n, err := nets.Get(context.Background(), bridge.NameBridge)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, p := range n.IPAM.Config {
		if p.Gateway.IsValid() {
			return p.Gateway, nil
		}
	}
	return netip.Addr{}, nil
}
