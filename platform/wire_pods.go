package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// podsReach is the address of the machine by which pods reach the API where it
// listens; the zero address where they cannot: on the machine's loopback, or on an
// address of IPv6, which pods have not. The API listens already.
func (p *process) podsReach() netip.Addr {
	at, err := netip.ParseAddrPort(p.cfg.Listen)
	a := at.Addr().Unmap()
	switch {
	case err != nil, a.IsLoopback():
		return netip.Addr{}
	case a.IsUnspecified():
		return p.nodeIP
	case a.Is4():
		return a
	}
	return netip.Addr{}
}

// publicAddress is the one address by which pods and this machine both reach the
// API.
func (p *process) publicAddress() netip.AddrPort {
	if a := p.podsReach(); a.IsValid() {
		return netip.AddrPortFrom(a, uint16(p.apiPort()))
	}
	return netip.AddrPortFrom(firstAddress(p.services), 443)
}

// openToPods lets pods reach an API that listens where they cannot: it listens on
// the gateway of the node's pods too, which the network closes to all others.
func (p *process) openToPods(ctx context.Context) (func(), error) {
	if p.podsReach().IsValid() {
		return nil, nil
	}
	gateway, err := p.ownGateway(ctx)
	if err != nil {
		return nil, err
	}
	at := netip.AddrPortFrom(gateway, uint16(p.apiPort()))
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, &Fault{
			What: fmt.Sprintf("the API, which listens on %s alone, cannot be opened to pods: %v", p.cfg.Listen, err),
			Do:   "stop the program that has the port, or give another port with --listen", Err: err,
		}
	}
	p.serveAPI("api-pods", l)
	return func() { l.Close() }, p.api.Advertise(ctx, at)
}

// ownGateway waits for the range of this node's pods.
func (p *process) ownGateway(ctx context.Context) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a, err := p.network.Gateway(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return a, &Fault{What: "this node got no range of pod addresses in time", Do: "read the log for what it waits for", Err: err}
	}
	return a, err
}
