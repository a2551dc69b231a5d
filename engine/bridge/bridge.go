package bridge

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Drivers of networks.
const (
	DriverBridge = "bridge"
	DriverHost   = "host"
	DriverNull   = "null"
)

// Names of the networks that are always there.
const (
	NameBridge = "bridge"
	NameHost   = "host"
	NameNone   = "none"
)

// Networks is safe for concurrent use. A network is named by its name, its id or an
// unambiguous beginning of its id. What a method has done is on disk when it
// returns. Values that are returned are the caller's own.
type Networks interface {
	// Create makes a network, ready for containers.
	Create(ctx context.Context, s Spec) (*Network, error)
	// Remove takes one away to which no container is connected.
	Remove(ctx context.Context, network string) (*Network, error)
	// Prune removes all networks of users that want takes and no container uses.
	Prune(ctx context.Context, want func(*Network) bool) ([]*Network, error)
	Get(ctx context.Context, network string) (*Network, error)
	// List is sorted by the time of creation.
	List(ctx context.Context) ([]*Network, error)

	// Connect gives a container that has a network namespace an interface in a
	// network, before its process starts or while it runs. The Attachment is what
	// inspect shows. Connecting to "host" or "none" only notes that.
	Connect(ctx context.Context, network string, e Endpoint) (*Attachment, error)
	// Disconnect undoes one Connect. A container that is not connected is an error.
	Disconnect(ctx context.Context, network, container string) error
	// Leave undoes all of a container's, which has ended: its namespace may be gone.
	// An unknown container is no error.
	Leave(ctx context.Context, container string) error
	// Rename has others find a container by another name from now on, and no longer by
	// its old one. An unknown container is no error: it is connected to nothing.
	Rename(ctx context.Context, container, name string) error
	// Attached tells a container's connections by name of network, and its host ports.
	Attached(ctx context.Context, container string) (map[string]Attachment, []Binding, error)
	// Files is what belongs into a container's /etc/hosts and /etc/resolv.conf, as of
	// now: to be written (in place) after Connect and Disconnect, and when
	// Options.Changed tells of it.
	Files(ctx context.Context, container string) (*Files, error)
	// Restore is called once, before all else: it brings the machine to what is on
	// disk. Connections of containers that are not named are taken away; those of the
	// others go on as they were.
	Restore(ctx context.Context, running []Running) error
	// Close lets go of what this process serves; networks and containers stay.
	Close() error
}

// Spec asks for a network.
type Spec struct {
	Name       string
	Driver     string // "" is bridge
	Scope      string // "" or "local"
	IPv4, IPv6 *bool  // nil: IPv4 only
	IPAM       IPAM
	Internal   bool // no way to the outside
	Attachable bool // kept for inspect
	Ingress    bool
	ConfigOnly bool   // others take it as their ConfigFrom, and no container uses it
	ConfigFrom string // network whose settings are taken
	Options    map[string]string
	Labels     map[string]string
}

// IPAM is how a network gets its addresses.
type IPAM struct {
	Driver  string
	Options map[string]string
	Config  []Pool
}

// Pool is one range of addresses. Range, where given, is the part that containers
// get addresses from; Aux are taken by others.
type Pool struct {
	Subnet  netip.Prefix
	Range   netip.Prefix
	Gateway netip.Addr
	Aux     map[string]netip.Addr
}

// Network is a network as it is.
type Network struct {
	ID         string // 64 hex digits
	Name       string
	Driver     string
	Created    time.Time
	IPv4, IPv6 bool
	IPAM       IPAM
	Internal   bool
	Attachable bool
	ConfigOnly bool
	ConfigFrom string
	Options    map[string]string
	Labels     map[string]string

	// Attached is by container id.
	Attached map[string]Attachment `json:"-"`
	// Usage is by subnet.
	Usage map[netip.Prefix]Usage `json:"-"`
}

// Usage counts a subnet's addresses.
type Usage struct {
	InUse     uint64 // with the network's own, the gateway's and the last one
	Available uint64 // that containers can still get
}

// Predefined tells whether it is one of the three that are always there.
func (n *Network) Predefined() bool {
	return n.Name == NameBridge || n.Name == NameHost || n.Name == NameNone
}

// Protocol of a port.
type Protocol string

// Protocols.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Port asks for a container's port on the host. HostIP, where it is not valid,
// stands for all addresses of both families. First 0 chooses any free port, else the
// first free one from First to Last.
type Port struct {
	Protocol    Protocol
	Container   uint16
	HostIP      netip.Addr
	First, Last uint16
}

// Binding is a container's port that is bound on the host.
type Binding struct {
	Protocol  Protocol
	Container uint16
	HostIP    netip.Addr
	HostPort  uint16
}

// Link is --link: inside the container Alias leads to another container.
type Link struct {
	Container string // name or id
	Alias     string
}

// Endpoint asks for a connection of one container to one network.
type Endpoint struct {
	Container string // id, 64 hex digits
	Name      string // of the container, without slash
	NetNS     string // path of the pinned namespace

	Aliases  []string
	Links    []Link
	IPv4     netip.Addr // asked for; the zero Addr lets the network choose
	IPv6     netip.Addr
	MAC      net.HardwareAddr
	Priority int               // of the network as the one with the default gateway
	Options  map[string]string // of the driver, kept for inspect

	// What follows is the container's, the same in each of its endpoints.
	Hostname, Domainname string
	Ports                []Port
	DNS                  []netip.Addr // servers; none: the host's
	DNSSearch            []string
	DNSOptions           []string
	ExtraHosts           []Host
	Sysctls              map[string]string // "net.*", set in the namespace
}

// Host is one line of /etc/hosts. An invalid IP stands for "host-gateway", the
// host's address as the container sees it.
type Host struct {
	Name string
	IP   netip.Addr
}

// Attachment is a connection as it is.
type Attachment struct {
	NetworkID   string
	NetworkName string
	EndpointID  string // 64 hex digits
	Container   string
	Name        string // of the container
	Interface   string // in the container: eth0
	MAC         net.HardwareAddr
	IPv4        netip.Prefix // address, with the subnet's length
	Gateway4    netip.Addr
	IPv6        netip.Prefix
	Gateway6    netip.Addr
	// DNSNames are the names by which others in the network find the container; of the
	// default bridge nil.
	DNSNames []string
}

// Files are contents of files.
type Files struct {
	Hosts, ResolvConf []byte
}

// Running is a container that goes on over a restart of this process.
type Running struct {
	Container string
	NetNS     string
}
