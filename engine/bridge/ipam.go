package bridge

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"net/netip"
)

// errFull and errTaken are reasons that Connect gives.
var (
	errFull = errors.New("no available IPv4 addresses on this network's address pools")
	//lint:ignore ST1005 Docker says it so
	errTaken = errors.New("Address already in use")
)

// pool gives out the addresses of one subnet, the lowest first. It has no lock.
type pool struct {
	subnet netip.Prefix
	within netip.Prefix        // that addresses are chosen from: the range, or the subnet
	used   map[netip.Addr]bool // with the reserved ones
	low    netip.Addr          // no address of within below is free
}

// newPool reserves the addresses that no container may have: the subnet's first (the
// network's own), its last for IPv4 (broadcast), and those of p.
func newPool(p Pool) *pool {
	m := &pool{subnet: p.Subnet, within: p.Subnet, used: map[netip.Addr]bool{}}
	if p.Range.IsValid() {
		m.within = p.Range
	}
	m.low = m.within.Addr()
	first, last := p.Subnet.Addr(), lastOf(p.Subnet)
	if p.Subnet.Addr().Is6() {
		m.used[first] = true
	} else if p.Subnet.Bits() < 31 {
		m.used[first], m.used[last] = true, true
	}
	if p.Gateway.IsValid() {
		m.used[p.Gateway] = true
	}
	for _, a := range p.Aux {
		m.used[a] = true
	}
	return m
}

// next takes the lowest free address.
func (m *pool) next() (netip.Addr, error) {
	for a := m.low; a.IsValid() && m.within.Contains(a); a = a.Next() {
		if !m.used[a] {
			m.used[a], m.low = true, a
			return a, nil
		}
	}
	return netip.Addr{}, errFull
}

// take takes the address that was asked for.
func (m *pool) take(a netip.Addr) error {
	if m.used[a] {
		return errTaken
	}
	m.used[a] = true
	return nil
}

func (m *pool) release(a netip.Addr) {
	delete(m.used, a)
	if m.within.Contains(a) && a.Less(m.low) {
		m.low = a
	}
}

// usage counts. Numbers that do not fit are the largest that do.
func (m *pool) usage() Usage {
	u := Usage{InUse: uint64(len(m.used))}
	inside := uint64(0)
	for a := range m.used {
		if m.within.Contains(a) {
			inside++
		}
	}
	bits := m.within.Addr().BitLen() - m.within.Bits()
	if bits >= 64 {
		u.Available = math.MaxUint64 - inside
		if bits == 64 {
			u.Available++ // 1<<64 - inside
		}
		if bits == 64 && inside == 0 {
			u.Available = math.MaxUint64
		}
		return u
	}
	u.Available = uint64(1)<<bits - inside
	return u
}

// firstHost is the address that a gateway has where none is asked for.
func firstHost(p Pool) netip.Addr {
	m := newPool(Pool{Subnet: p.Subnet, Range: p.Range, Aux: p.Aux})
	a, err := m.next()
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// lastOf is the highest address of p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // has the length of an address
	return a
}

// defaultRanges are what networks without a subnet get theirs from, as Docker's: the
// number is the length of what each gets.
var defaultRanges = []struct {
	from netip.Prefix
	bits int
}{
	{netip.MustParsePrefix("172.17.0.0/16"), 16},
	{netip.MustParsePrefix("172.18.0.0/16"), 16},
	{netip.MustParsePrefix("172.19.0.0/16"), 16},
	{netip.MustParsePrefix("172.20.0.0/14"), 16},
	{netip.MustParsePrefix("172.24.0.0/14"), 16},
	{netip.MustParsePrefix("172.28.0.0/14"), 16},
	{netip.MustParsePrefix("192.168.0.0/16"), 20},
}

// freeRange is the first default range that overlaps nothing of taken.
func freeRange(taken []netip.Prefix) (netip.Prefix, error) {
	for _, r := range defaultRanges {
		for p := netip.PrefixFrom(r.from.Addr(), r.bits); p.IsValid() && r.from.Contains(p.Addr()); p = following(p) {
			if !overlaps(p, taken) {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, failed("all predefined address pools have been fully subnetted")
}

// freeRange6 is the first /64 of a /48 that is free.
func freeRange6(site netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	for p := netip.PrefixFrom(site.Addr(), 64); p.IsValid() && site.Contains(p.Addr()); p = following(p) {
		if !overlaps(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, failed("all predefined address pools have been fully subnetted")
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.IsValid() && t.Bits() > 0 && t.Overlaps(p) {
			return true
		}
	}
	return false
}

// following is the next range of the same size, or an invalid one.
func following(p netip.Prefix) netip.Prefix {
	n := new(big.Int).SetBytes(p.Addr().AsSlice())
	n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits())))
	if n.BitLen() > p.Addr().BitLen() {
		return netip.Prefix{}
	}
	b := make([]byte, p.Addr().BitLen()/8)
	n.FillBytes(b)
	a, _ := netip.AddrFromSlice(b) // has the length of an address
	return netip.PrefixFrom(a, p.Bits())
}

// siteOf makes a /48 of unique local addresses (RFC 4193) from a hash.
func siteOf(hash [32]byte) netip.Prefix {
	var b [16]byte
	b[0] = 0xfd
	binary.BigEndian.PutUint32(b[1:], binary.BigEndian.Uint32(hash[:]))
	b[5] = hash[4]
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}
