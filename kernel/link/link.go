// Package link is the kernel room's part for interfaces, addresses, routes,
// neighbours and tracked connections of one network namespace: Host is the
// contract, Open gives the kernel's, Fake one in memory that dumps as text.
package link

import (
	"errors"
	"net"
	"net/netip"
)

// ErrExists says that an interface of that name is there already.
var ErrExists = errors.New("link: exists")

// Host is one network namespace as its owner works on it. Deleting what is not
// there is no error.
type Host interface {
	// Anchor makes a bridge without ports, up, or brings one to what a says; other
	// addresses on it are taken away.
	Anchor(a Anchor) error
	// Pair makes a veth pair between this namespace and another. It fails with
	// ErrExists if the name is taken; on an error nothing stays.
	Pair(p Pair) error
	// Up brings an interface up.
	Up(name string) error
	// Delete takes an interface away, and its peer with it.
	Delete(name string) error
	// Exists tells whether an interface is there.
	Exists(name string) (bool, error)
	// Names lists the interfaces whose name begins with prefix, sorted.
	Names(prefix string) ([]string, error)
	// Routes lists the destinations of all unicast routes, and addresses held.
	Routes() ([]netip.Prefix, error)
	// Uplink tells the largest packet of the interface that the default route
	// uses, or 1500.
	Uplink() (mtu int, err error)
	// Via lists the routes through other machines that the interface-independent
	// tag names; SetVia and DeleteVia change them.
	Via(tag int) ([]Via, error)
	SetVia(tag int, v Via) error
	DeleteVia(tag int, v Via) error
	// Sysctl writes a file below /proc/sys, such as "net/ipv4/ip_forward". A value
	// that is there already is not written.
	Sysctl(name, value string) error
	// Forget ends the tracking of all connections that match.
	Forget(match func(Flow) bool) (int, error)
	Close() error
}

// Anchor is an interface behind which nobody is: it holds an address of this
// machine, and takes what is sent to Addr's network and to Networks where no
// better route is known. Packets to Networks have the source address From.
type Anchor struct {
	Name     string
	Addr     netip.Prefix
	Networks []netip.Prefix
	From     netip.Addr
}

// Pair is a pod's connection: Name here, Inside there. Traffic of this machine to
// Addr is routed to the pair with From as source address; Gateway is the address
// of the near end, and inside the way to everything. Both sides know each other's
// hardware address, so that neither asks for it.
type Pair struct {
	Name      string
	Inside    string
	Namespace string // path of the pinned namespace
	MTU       int
	Addr      netip.Addr
	From      netip.Addr
	Gateway   netip.Addr
	// Localnet lets packets between 127.0.0.0/8 and the pair be routed: who sets
	// it must keep strangers out.
	Localnet bool
}

// HostMAC is the hardware address of the near end of every pair: a pair has one
// neighbour, so it need not be unique.
var HostMAC = net.HardwareAddr{0x02, 0x5c, 0x1f, 0xf0, 0x00, 0x01}

// PodMAC is the far end's, made of its address.
func PodMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x5c, b[0], b[1], b[2], b[3]}
}

// Via is a route to a network through another machine.
type Via struct {
	To      netip.Prefix
	Gateway netip.Addr
}

// Flow is one tracked connection: what the client sent to, and where it went.
type Flow struct {
	Protocol uint8
	Client   netip.Addr
	To       netip.AddrPort // as the client wrote it
	Server   netip.AddrPort // who answers
}
