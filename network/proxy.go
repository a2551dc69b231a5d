package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
)

// proxy keeps the kernel's table equal to the ruleset. Services come from events
// and are brought forward by sync, many at once where many have changed; pods come
// from Add and Remove, which wait until theirs is in the kernel.
type proxy struct {
	nft  nft.Conn
	host link.Host
	at   place

	wake chan struct{}

	mu       sync.Mutex // guards what follows
	services map[types.NamespacedName]*serviceState
	dirty    map[types.NamespacedName]bool

	apply  sync.Mutex // guards what follows; taken before mu
	rules  *ruleset
	served bool // the services are known
	// known says that the kernel's table is what rules says. Otherwise it is missing
	// or it is what an earlier process left, which goes on serving until the services
	// are known.
	known bool
}

type serviceState struct {
	svc    *v1.Service
	slices map[string]*discoveryv1.EndpointSlice
}

func newProxy(n nft.Conn, h link.Host, l layout, node string) *proxy {
	return &proxy{
		nft: n, host: h, at: place{node, l.cluster}, wake: make(chan struct{}, 1),
		services: map[types.NamespacedName]*serviceState{}, dirty: map[types.NamespacedName]bool{},
		rules: newRuleset(l.instance, baseTable(l)),
	}
}

// state finds a service's state, or makes it. p.mu is held.
func (p *proxy) state(name types.NamespacedName) *serviceState {
	s := p.services[name]
	if s == nil {
		s = &serviceState{slices: map[string]*discoveryv1.EndpointSlice{}}
		p.services[name] = s
	}
	return s
}

// touch marks a service for the next sync. p.mu is held.
func (p *proxy) touch(name types.NamespacedName) {
	p.dirty[name] = true
	if s := p.services[name]; s.svc == nil && len(s.slices) == 0 {
		delete(p.services, name)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// setService takes a service in; nil is none any more.
func (p *proxy) setService(name types.NamespacedName, svc *v1.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state(name).svc = svc
	p.touch(name)
}

// setSlice takes the slice key of service name in; nil is none any more.
func (p *proxy) setSlice(name types.NamespacedName, key string, s *discoveryv1.EndpointSlice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil {
		delete(p.state(name).slices, key)
	} else {
		p.state(name).slices[key] = s
	}
	p.touch(name)
}

// take compiles what is dirty, or everything.
func (p *proxy) take() map[string]*fragment {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]*fragment, len(p.dirty))
	for name := range p.dirty {
		var f *fragment
		if s := p.services[name]; s != nil && s.svc != nil {
			all := make([]*discoveryv1.EndpointSlice, 0, len(s.slices))
			for _, e := range s.slices {
				all = append(all, e)
			}
			f = compileService(s.svc, all, p.at)
		}
		out[serviceOwner(name)] = f
	}
	clear(p.dirty)
	return out
}

func serviceOwner(n types.NamespacedName) string { return "service/" + n.String() }

// run syncs after every change until ctx ends. The caller has fed the first list
// of services and slices.
func (p *proxy) run(ctx context.Context, failed func(error) (pause <-chan struct{})) {
	p.apply.Lock()
	p.served = true
	p.known = false
	p.apply.Unlock()
	for ctx.Err() == nil {
		if err := p.sync(); err != nil {
			select {
			case <-ctx.Done():
			case <-failed(err):
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
	}
}

// sync brings the services forward.
func (p *proxy) sync() error {
	p.apply.Lock()
	defer p.apply.Unlock()
	return p.change(p.take())
}

// change replaces fragments and applies the difference. p.apply is held.
func (p *proxy) change(news map[string]*fragment) error {
	olds := make(map[string]*fragment, len(news))
	for o := range news {
		olds[o] = p.rules.frags[o]
	}
	tx := p.rules.change(news)
	if err := p.write(tx); err != nil {
		return err
	}
	return p.forget(olds, news)
}

// write applies tx. A table that is not as it should be is written anew.
func (p *proxy) write(tx *nft.Tx) error {
	if p.known || !p.served {
		err := p.nft.Apply(tx)
		if err == nil || (!p.served && !p.known && !errors.Is(err, nft.ErrNotFound)) {
			return err
		}
		if !p.known {
			// What an earlier process left does not have the sets: there is nothing to keep.
			if there, e := p.nft.Exists(p.rules.table); e != nil || there {
				return errors.Join(err, e)
			}
		}
	}
	p.known = false
	if err := p.nft.Apply(p.rules.full()); err != nil {
		return err
	}
	p.known = true
	return nil
}

// check writes the table anew if someone took it away.
func (p *proxy) check() error {
	p.apply.Lock()
	defer p.apply.Unlock()
	if !p.known {
		return nil
	}
	there, err := p.nft.Exists(p.rules.table)
	if err != nil || there {
		return err
	}
	p.known = false
	return p.write(nft.NewTx(p.rules.table))
}

// set puts a pod's fragment in place, nil takes it away, and returns when the
// kernel has it.
func (p *proxy) set(owner string, f *fragment) error {
	p.apply.Lock()
	defer p.apply.Unlock()
	return p.change(map[string]*fragment{owner: f})
}

// forget ends the tracking of UDP flows that lead to servers that are gone, or to
// nobody though there is a server now. TCP needs no help: its ends notice.
func (p *proxy) forget(olds, news map[string]*fragment) error {
	stale := map[netip.AddrPort]staleUDP{}
	for o, f := range news {
		staleFlows(stale, olds[o], f)
	}
	if len(stale) == 0 {
		return nil
	}
	if _, err := p.host.Forget(func(f link.Flow) bool { return isStale(stale, f) }); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}

type staleUDP struct {
	gone  []netip.AddrPort
	unset bool // flows that no server was found for
}

func staleFlows(out map[netip.AddrPort]staleUDP, old, new *fragment) {
	if old == nil {
		old = newFragment()
	}
	if new == nil {
		new = newFragment()
	}
	for vip, before := range old.udp {
		s := out[vip]
		for _, a := range before {
			if !slices.Contains(new.udp[vip], a) {
				s.gone = append(s.gone, a)
			}
		}
		if len(s.gone) > 0 {
			out[vip] = s
		}
	}
	for vip, now := range new.udp {
		if len(now) > 0 && len(old.udp[vip]) == 0 {
			s := out[vip]
			s.unset = true
			out[vip] = s
		}
	}
}

const protocolUDP = 17

func isStale(stale map[netip.AddrPort]staleUDP, f link.Flow) bool {
	if f.Protocol != protocolUDP {
		return false
	}
	for _, vip := range []netip.AddrPort{f.To, netip.AddrPortFrom(netip.IPv4Unspecified(), f.To.Port())} {
		if s, ok := stale[vip]; ok && (slices.Contains(s.gone, f.Server) || (s.unset && f.Server == f.To)) {
			return true
		}
	}
	return false
}
