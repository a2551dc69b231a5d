package link

import (
	"context"
	"net"
	"net/netip"
)

// Bridges is Host's part for bridges to which interfaces of other namespaces are
// connected. OpenBridges gives the kernel's.
type Bridges interface {
	Host
	// Bridge makes a bridge, up, or brings one to what b says; other addresses on it
	// are taken away.
	Bridge(b Bridge) error
	// Plug makes a veth pair between a bridge and another namespace. It fails with
	// ErrExists if the name is taken; on an error nothing stays.
	Plug(p Plug) error
	// Default makes these the only default routes of a namespace; an invalid address is
	// no route.
	Default(namespace string, four, six netip.Addr) error
	// Interfaces lists all.
	Interfaces() ([]Interface, error)
	// Follow calls changed after interfaces have come or gone, until ctx ends.
	Follow(ctx context.Context, changed func()) error
	// Turn makes an interface, anew if there is one, whose packets of both families
	// come in at another as if the wire had brought them, and returns its index.
	// TurnAddr4 and TurnAddr6 are neighbours on it.
	Turn(name string, back int) (index int, err error)
}

// Addresses that are on every interface that Turn makes.
var (
	TurnAddr4 = netip.MustParseAddr("169.254.0.1")
	TurnAddr6 = netip.MustParseAddr("fe80::1")
)

// Bridge is a bridge with ports.
type Bridge struct {
	Name  string
	MTU   int
	MAC   net.HardwareAddr
	Addrs []netip.Prefix
	// Localnet lets packets between 127.0.0.0/8 and its ports be routed: who sets it
	// must keep strangers out.
	Localnet bool
}

// Plug is an interface Inside in another namespace, whose other end Name is a port of
// Bridge.
type Plug struct {
	Name      string
	Bridge    string
	Inside    string
	Namespace string // path of the pinned namespace
	MTU       int
	MAC       net.HardwareAddr
	Addrs     []netip.Prefix
	// Alone ports of a bridge reach only those that are not.
	Alone bool
}

// Interface is one of a namespace.
type Interface struct {
	Name     string
	Index    int
	Master   int // index of the bridge, bond or VRF that it belongs to, or 0
	Up       bool
	Loopback bool
}
