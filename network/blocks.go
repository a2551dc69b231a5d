package network

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
)

// block is a range of numbers in the shared set of endpoints: a chain chooses one
// at random. Neither a map of its own nor a chain for each endpoint is needed,
// whose number the kernel would walk through at every change.
type block struct{ first, size uint32 }

// blocks gives out ranges whose sizes are powers of two.
type blocks struct {
	next uint32
	free map[uint32][]uint32 // by size
}

func (b *blocks) take(n int) block {
	size := uint32(1) << bits.Len(uint(n-1))
	if f := b.free[size]; len(f) > 0 {
		b.free[size] = f[:len(f)-1]
		return block{f[len(f)-1], size}
	}
	b.next += size
	return block{b.next - size, size}
}

// place writes the rules of a fragment's picks. A chain keeps the block that it has
// in old as long as its endpoints fit, so that one endpoint's change is a few
// elements.
func (b *blocks) place(old, f *fragment) {
	for chain, to := range f.picks {
		if len(to) == 1 {
			f.chains[chain] = []string{"dnat to " + to[0].String()}
			continue
		}
		to = settle(old.picks[chain], to)
		f.picks[chain] = to
		have, ok := old.blocks[chain]
		if !ok || uint32(len(to)) > have.size || uint32(len(to))*4 < have.size {
			have = b.take(len(to))
		}
		f.blocks[chain] = have
		f.chains[chain] = []string{fmt.Sprintf("dnat to numgen random mod %d offset %d map @%s", len(to), have.first, setEndpoints)}
		for i, a := range to {
			f.put(setEndpoints, strconv.Itoa(int(have.first)+i), endpointValue(a))
		}
	}
}

// settle orders endpoints so that those of old keep their places where they can.
func settle(old, to []netip.AddrPort) []netip.AddrPort {
	out := make([]netip.AddrPort, len(to))
	rest := make(map[netip.AddrPort]bool, len(to))
	for _, a := range to {
		rest[a] = true
	}
	for i, a := range old[:min(len(old), len(to))] {
		if rest[a] {
			out[i] = a
			delete(rest, a)
		}
	}
	hole := 0
	for _, a := range to {
		if !rest[a] {
			continue
		}
		for out[hole].IsValid() {
			hole++
		}
		out[hole] = a
	}
	return out
}

func endpointValue(a netip.AddrPort) string { return fmt.Sprintf("%s . %d", a.Addr(), a.Port()) }

// leave gives back the blocks of old that f does not use any more.
func (b *blocks) leave(old, f *fragment) {
	for chain, have := range old.blocks {
		if f.blocks[chain] != have {
			b.free[have.size] = append(b.free[have.size], have.first)
		}
	}
}
