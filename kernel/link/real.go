package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/netns"
)

// kernel is Host on netlink sockets of one namespace.
type kernel struct {
	ns *netns.Namespace // nil is the process's own
	h  *netlink.Handle

	mu sync.Mutex
	ct *netlink.Handle // made when first needed
}

// Open works on ns, or on the process's own namespace if it is nil. The caller
// keeps ns open until Close.
func Open(ns *netns.Namespace) (Host, error) {
	k := &kernel{ns: ns}
	var err error
	if k.h, err = k.handle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return k, nil
}

func (k *kernel) handle(family int) (*netlink.Handle, error) {
	if k.ns == nil {
		return netlink.NewHandle(family)
	}
	return netlink.NewHandleAt(nsfd.NsHandle(k.ns.FD()), family)
}

func (k *kernel) Close() error {
	k.h.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ct != nil {
		k.ct.Close()
	}
	return nil
}

func (k *kernel) Anchor(a Anchor) error {
	l, err := k.h.LinkByName(a.Name)
	if isGone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Flags = a.Name, net.FlagUp
		if err := k.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("link: make bridge %s: %w", a.Name, err)
		}
		l, err = k.h.LinkByName(a.Name)
	}
	if err != nil {
		return fmt.Errorf("link: find %s: %w", a.Name, err)
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		if err := k.h.LinkSetUp(l); err != nil {
			return fmt.Errorf("link: bring up %s: %w", a.Name, err)
		}
	}
	if err := k.hold(l, a.Addr); err != nil {
		return fmt.Errorf("link: address of %s: %w", a.Name, err)
	}
	for _, n := range a.Networks {
		r := netlink.Route{LinkIndex: l.Attrs().Index, Dst: toIPNet(n.Masked()), Scope: netlink.SCOPE_LINK, Src: a.From.AsSlice()}
		if err := k.h.RouteReplace(&r); err != nil {
			return fmt.Errorf("link: route %s to %s: %w", n, a.Name, err)
		}
	}
	return nil
}

// hold makes a the only address of l.
func (k *kernel) hold(l netlink.Link, a netip.Prefix) error {
	have, err := k.h.AddrList(l, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	found := false
	for _, h := range have {
		if toPrefix(h.IPNet) == a {
			found = true
		} else if err := k.h.AddrDel(l, &h); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	return k.h.AddrAdd(l, &netlink.Addr{IPNet: toIPNet(a)})
}

func (k *kernel) Pair(p Pair) (err error) {
	ns, err := netns.Open(p.Namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = p.Name, p.MTU, HostMAC, net.FlagUp
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: p.Inside, PeerHardwareAddr: PodMAC(p.Addr),
		PeerNamespace: netlink.NsFd(ns.FD()),
	}
	if err := k.h.LinkAdd(veth); errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make pair %s: %w", p.Name, ErrExists)
	} else if err != nil {
		return fmt.Errorf("link: make pair %s: %w", p.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Delete(p.Name))
		}
	}()
	if err := far(ns, p); err != nil {
		return fmt.Errorf("link: set up %s in %s: %w", p.Inside, p.Namespace, err)
	}
	if err := k.near(p); err != nil {
		return fmt.Errorf("link: set up %s: %w", p.Name, err)
	}
	return nil
}

// far gives the end inside the pod its address and routes.
func far(ns *netns.Namespace, p Pair) error {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(p.Inside)
	if err != nil {
		return err
	}
	index := l.Attrs().Index
	if err := h.AddrAdd(l, &netlink.Addr{IPNet: host(p.Addr)}); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if err := h.NeighAdd(neighbour(index, p.Gateway, HostMAC)); err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	for _, r := range []netlink.Route{
		{LinkIndex: index, Dst: host(p.Gateway), Scope: netlink.SCOPE_LINK},
		{LinkIndex: index, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Gw: p.Gateway.AsSlice()},
	} {
		if err := h.RouteAdd(&r); err != nil {
			return fmt.Errorf("route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

// near routes the pod's address to this end.
func (k *kernel) near(p Pair) error {
	l, err := k.h.LinkByName(p.Name)
	if err != nil {
		return err
	}
	index := l.Attrs().Index
	// Its own address is what packets that leave here are hidden behind.
	if err := k.h.AddrAdd(l, &netlink.Addr{IPNet: host(p.Gateway)}); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if err := k.h.NeighAdd(neighbour(index, p.Addr, PodMAC(p.Addr))); err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	if p.Localnet {
		if err := k.Sysctl("net/ipv4/conf/"+p.Name+"/route_localnet", "1"); err != nil {
			return err
		}
	}
	// The pod as its own gateway keeps the kernel from sending it ICMP redirects when
	// it reaches itself through a service, and from counting those against the rate
	// of other ICMP errors (__mkroute_input in net/ipv4/route.c).
	r := netlink.Route{LinkIndex: index, Dst: host(p.Addr), Gw: p.Addr.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Src: p.From.AsSlice()}
	if err := k.h.RouteReplace(&r); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return nil
}

func neighbour(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

func (k *kernel) Delete(name string) error {
	l, err := k.h.LinkByName(name)
	if isGone(err) {
		return nil
	}
	if err == nil {
		err = k.h.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("link: delete %s: %w", name, err)
	}
	return nil
}

func (k *kernel) Exists(name string) (bool, error) {
	_, err := k.h.LinkByName(name)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("link: find %s: %w", name, err)
	}
	return true, nil
}

func (k *kernel) Names(prefix string) ([]string, error) {
	all, err := k.h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("link: list: %w", err)
	}
	var out []string
	for _, l := range all {
		if strings.HasPrefix(l.Attrs().Name, prefix) {
			out = append(out, l.Attrs().Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (k *kernel) Routes() ([]netip.Prefix, error) {
	routes, err := k.h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("link: routes: %w", err)
	}
	var out []netip.Prefix
	for _, r := range routes {
		if p := toPrefix(r.Dst); p.IsValid() && p.Bits() > 0 {
			out = append(out, p)
		}
	}
	addrs, err := k.h.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("link: addresses: %w", err)
	}
	for _, a := range addrs {
		if p := toPrefix(a.IPNet); p.IsValid() {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

func (k *kernel) Uplink() (int, error) {
	routes, err := k.h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return 0, fmt.Errorf("link: routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex == 0 || (r.Dst != nil && !r.Dst.IP.IsUnspecified()) {
			continue
		}
		if l, err := k.h.LinkByIndex(r.LinkIndex); err == nil {
			return l.Attrs().MTU, nil
		}
	}
	return 1500, nil
}

func (k *kernel) Via(tag int) ([]Via, error) {
	routes, err := k.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: netlink.RouteProtocol(tag)}, netlink.RT_FILTER_PROTOCOL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("link: routes: %w", err)
	}
	var out []Via
	for _, r := range routes {
		if gw, ok := netip.AddrFromSlice(r.Gw.To4()); ok && r.Dst != nil {
			out = append(out, Via{toPrefix(r.Dst), gw})
		}
	}
	return out, nil
}

func via(tag int, v Via) *netlink.Route {
	return &netlink.Route{Dst: toIPNet(v.To), Gw: v.Gateway.AsSlice(), Protocol: netlink.RouteProtocol(tag)}
}

func (k *kernel) SetVia(tag int, v Via) error {
	if err := k.h.RouteReplace(via(tag, v)); err != nil {
		return fmt.Errorf("link: route to %s via %s: %w", v.To, v.Gateway, err)
	}
	return nil
}

func (k *kernel) DeleteVia(tag int, v Via) error {
	if err := k.h.RouteDel(via(tag, v)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("link: delete route to %s: %w", v.To, err)
	}
	return nil
}

func (k *kernel) Sysctl(name, value string) error {
	write := func() error {
		file := "/proc/sys/" + name
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == value {
			return nil
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	}
	var err error
	if k.ns == nil {
		err = write()
	} else {
		err = k.ns.Do(write)
	}
	if err != nil {
		return fmt.Errorf("link: set %s to %s: %w", name, value, err)
	}
	return nil
}

// flowFilter gives Forget's condition netlink's form.
type flowFilter func(Flow) bool

func (f flowFilter) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	client, ok1 := netip.AddrFromSlice(c.Forward.SrcIP)
	to, ok2 := netip.AddrFromSlice(c.Forward.DstIP)
	server, ok3 := netip.AddrFromSlice(c.Reverse.SrcIP)
	return ok1 && ok2 && ok3 && f(Flow{
		Protocol: c.Forward.Protocol, Client: client.Unmap(),
		To:     netip.AddrPortFrom(to.Unmap(), c.Forward.DstPort),
		Server: netip.AddrPortFrom(server.Unmap(), c.Reverse.SrcPort),
	})
}

func (k *kernel) Forget(match func(Flow) bool) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ct == nil {
		h, err := k.handle(unix.NETLINK_NETFILTER)
		if err != nil {
			return 0, fmt.Errorf("link: connection tracking: %w", err)
		}
		k.ct = h
	}
	total := 0
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		n, err := k.ct.ConntrackDeleteFilters(netlink.ConntrackTable, family, flowFilter(match))
		total += int(n)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.ENOENT) {
			return total, fmt.Errorf("link: forget connections: %w", err)
		}
	}
	return total, nil
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	bits, size := n.Mask.Size()
	if !ok || size != 32 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

func (k *kernel) Up(name string) error {
	l, err := k.h.LinkByName(name)
	if err == nil {
		err = k.h.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("link: bring up %s: %w", name, err)
	}
	return nil
}
