package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrFull says that every address of the node's range is taken.
var ErrFull = errors.New("network: no free address in the node's range")

// ErrNoRange says that the node has no range of pod addresses yet.
var ErrNoRange = errors.New("network: the node has no pod CIDR yet")

// ipam gives out the addresses of a range in turn, so that one that was given back
// rests as long as possible: what still remembers it (caches, connections) then
// does not reach a stranger. The range's own address, its gateway (the first) and
// its last, the broadcast address, are not given out.
type ipam struct {
	prefix netip.Prefix
	used   map[netip.Addr]bool
	last   netip.Addr // given out last
}

func newIPAM(p netip.Prefix) (*ipam, error) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return nil, fmt.Errorf("network: pod CIDR %s: want an IPv4 range of at least 4 addresses", p)
	}
	p = p.Masked()
	return &ipam{prefix: p, used: map[netip.Addr]bool{}, last: p.Addr().Next()}, nil
}

// gateway is the range's first address.
func (m *ipam) gateway() netip.Addr { return m.prefix.Addr().Next() }

// take marks an address that is known to be in use; addresses outside the range
// are no error, for the range may have changed.
func (m *ipam) take(a netip.Addr) {
	m.used[a] = true
	if m.prefix.Contains(a) && m.last.Less(a) {
		m.last = a
	}
}

func (m *ipam) release(a netip.Addr) { delete(m.used, a) }

// next gives out an address.
func (m *ipam) next() (netip.Addr, error) {
	for a := m.after(m.last); ; a = m.after(a) {
		if !m.used[a] {
			m.used[a] = true
			m.last = a
			return a, nil
		}
		if a == m.last {
			return netip.Addr{}, fmt.Errorf("%w: %s", ErrFull, m.prefix)
		}
	}
}

// after is the next address that may be given out, in a circle.
func (m *ipam) after(a netip.Addr) netip.Addr {
	n := a.Next()
	if !m.prefix.Contains(n) || !m.prefix.Contains(n.Next()) {
		n = m.gateway().Next()
	}
	return n
}
