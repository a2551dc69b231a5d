package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"skiff.dev/skiff/store"
)

// Servers that share a store tell each other of themselves by a record each, so that
// the kubernetes service has the addresses of all that live
// (controlplane/reconcilers, lease endpoint reconciler).
const (
	peersRoot = "/skiff/servers/"
	// peerEvery is how often a server renews its record and looks at the others'.
	peerEvery = 10 * time.Second
	// peerLife is how long a record that does not change counts. Each server measures
	// it by its own clock, from when it saw the last change.
	peerLife = 3 * peerEvery
)

// peers is one server's view of all.
type peers struct {
	store store.Store
	now   func() time.Time

	mu   sync.Mutex
	self netip.AddrPort
	seen map[netip.AddrPort]sighting
}

type sighting struct {
	revision int64
	at       time.Time
}

// round renews the record of this server and returns who lives, in order.
func (p *peers) round(ctx context.Context) ([]netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: peersRoot + p.self.String(), Value: []byte("alive")}}}); err != nil {
		return nil, err
	}
	res, err := p.store.Range(ctx, store.Range{Start: peersRoot, End: store.PrefixEnd(peersRoot), KeysOnly: true})
	if err != nil {
		return nil, err
	}
	now := p.now()
	seen := map[netip.AddrPort]sighting{}
	var alive []netip.AddrPort
	for _, kv := range res.KVs {
		at, err := netip.ParseAddrPort(strings.TrimPrefix(kv.Key, peersRoot))
		if err != nil {
			return nil, &store.CorruptError{Where: kv.Key, Err: err}
		}
		last, known := p.seen[at]
		if !known || last.revision != kv.ModRevision {
			last = sighting{kv.ModRevision, now}
		}
		if at != p.self && now.Sub(last.at) >= peerLife {
			_, err := p.store.Commit(ctx, store.Txn{
				Guards: []store.Guard{{Key: kv.Key, ModRevision: kv.ModRevision}}, Ops: []store.Op{{Key: kv.Key, Delete: true}},
			})
			if err := unlessConflict(0, err); err != nil {
				return nil, err
			}
			continue
		}
		seen[at] = last
		alive = append(alive, at)
	}
	p.seen = seen
	slices.SortFunc(alive, netip.AddrPort.Compare)
	return alive, nil
}

// leave takes the record of this server away.
func (p *peers) leave(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.self.IsValid() {
		return nil
	}
	_, err := p.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: peersRoot + p.self.String(), Delete: true}}})
	return err
}

// Advertise writes where the API is into the kubernetes service's endpoints: the
// addresses of all servers that share the store.
func (s *Server) Advertise(ctx context.Context, at netip.AddrPort) error {
	s.peers.mu.Lock()
	s.peers.self = at
	s.peers.mu.Unlock()
	return s.advertise(ctx)
}

func (s *Server) advertise(ctx context.Context) error {
	all := []netip.AddrPort{s.peers.self}
	if s.cache.Shared() {
		var err error
		if all, err = s.peers.round(ctx); err != nil {
			return fmt.Errorf("apiserver: find the other servers: %w", err)
		}
	}
	for _, obj := range kubernetesEndpoints(all) {
		if err := s.replace(ctx, obj); err != nil {
			return fmt.Errorf("apiserver: write the API's endpoints: %w", err)
		}
	}
	return nil
}

// meetPeers keeps the endpoints right while servers come and go.
func (s *Server) meetPeers(ctx context.Context) {
	defer close(s.peersDone)
	if !s.cache.Shared() {
		return
	}
	tick := time.NewTicker(peerEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.peers.mu.Lock()
			known := s.peers.self.IsValid()
			s.peers.mu.Unlock()
			if !known {
				continue
			}
			if err := s.advertise(ctx); err != nil && ctx.Err() == nil {
				s.tel.Log.Error("the endpoints of the API may be out of date", "err", err)
			}
		case <-ctx.Done():
			leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), freshTimeout)
			defer cancel()
			if err := s.peers.leave(leaving); err != nil && !errors.Is(err, store.ErrClosed) {
				s.tel.Log.Warn("the other servers are not told that this one leaves", "err", err)
			}
			return
		}
	}
}

// byPort groups servers by their ports, the port of most first.
func byPort(all []netip.AddrPort) [][]netip.AddrPort {
	groups := map[uint16][]netip.AddrPort{}
	for _, at := range all {
		groups[at.Port()] = append(groups[at.Port()], at)
	}
	var out [][]netip.AddrPort
	for _, g := range groups {
		slices.SortFunc(g, netip.AddrPort.Compare)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b []netip.AddrPort) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].Port(), b[0].Port()))
	})
	return out
}
