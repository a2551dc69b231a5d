package bridge

import (
	"net/netip"
	"slices"
)

// ports are the host ports that containers hold, by protocol and number.
type ports map[portKey][]netip.Addr

type portKey struct {
	protocol Protocol
	port     uint16
}

// ephemeral is the range that ports are chosen from where none is asked for.
const ephemeralFirst, ephemeralLast = 32768, 60999

// free tells whether nobody holds the port on an address that is, or includes, one of
// those given; else which is taken.
func (t ports) free(k portKey, at []netip.Addr) (taken netip.Addr, ok bool) {
	for _, have := range t[k] {
		for _, a := range at {
			if have.Is4() == a.Is4() && (have == a || have.IsUnspecified() || a.IsUnspecified()) {
				return a, false
			}
		}
	}
	return netip.Addr{}, true
}

func (t ports) add(k portKey, at []netip.Addr) { t[k] = append(t[k], at...) }

func (t ports) remove(b Binding) {
	k := portKey{b.Protocol, b.HostPort}
	t[k] = slices.DeleteFunc(t[k], func(a netip.Addr) bool { return a == b.HostIP })
	if len(t[k]) == 0 {
		delete(t, k)
	}
}

// addresses is where a port without an address is published: everywhere, or where the
// network says.
func (p Port) addresses(binding netip.Addr) []netip.Addr {
	switch {
	case p.HostIP.IsValid():
		return []netip.Addr{p.HostIP.Unmap()}
	case binding.IsValid():
		return []netip.Addr{binding}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// opener holds a port of the host for a container, which tells whether a program of
// the host has it.
type opener interface {
	open(Binding) error
	close(Binding)
}

// choose takes the ports that the container asks for. On an error nothing stays
// taken.
func (t ports) choose(want []Port, binding netip.Addr, o opener) (out []Binding, err error) {
	for _, p := range want {
		got, err := t.one(p, p.addresses(binding), o)
		if err != nil {
			t.giveBack(out, o)
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

func (t ports) giveBack(bs []Binding, o opener) {
	for _, b := range bs {
		t.remove(b)
		o.close(b)
	}
}

func (t ports) one(p Port, at []netip.Addr, o opener) ([]Binding, error) {
	first, last := p.First, max(p.Last, p.First)
	if first == 0 {
		first, last = ephemeralFirst, ephemeralLast
	}
	var why error
	for n := uint32(first); n <= uint32(last); n++ {
		k := portKey{p.Protocol, uint16(n)}
		if taken, ok := t.free(k, at); !ok {
			why = failed("Bind for %s failed: port is already allocated", netip.AddrPortFrom(taken, uint16(n)))
			continue
		}
		var got []Binding
		why = nil
		for _, a := range at {
			b := Binding{p.Protocol, p.Container, a, uint16(n)}
			if why = o.open(b); why != nil {
				break
			}
			got = append(got, b)
		}
		if why == nil {
			t.add(k, at)
			return got, nil
		}
		for _, b := range got {
			o.close(b)
		}
	}
	if first != last {
		return nil, failed("all ports are allocated")
	}
	return nil, why
}
