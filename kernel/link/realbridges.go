package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/netns"
)

// OpenBridges works on ns, or on the process's own namespace if it is nil. The caller
// keeps ns open until Close.
func OpenBridges(ns *netns.Namespace) (Bridges, error) {
	h, err := Open(ns)
	if err != nil {
		return nil, err
	}
	return h.(*kernel), nil
}

func (k *kernel) Bridge(b Bridge) error {
	l, err := k.h.LinkByName(b.Name)
	if isGone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = b.Name, b.MTU, b.MAC, net.FlagUp
		if err := k.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("link: make bridge %s: %w", b.Name, err)
		}
		l, err = k.h.LinkByName(b.Name)
	}
	if err != nil {
		return fmt.Errorf("link: find %s: %w", b.Name, err)
	}
	if l.Type() != "bridge" {
		return fmt.Errorf("link: %s is there, and no bridge: %w", b.Name, ErrExists)
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		if err := k.h.LinkSetUp(l); err != nil {
			return fmt.Errorf("link: bring up %s: %w", b.Name, err)
		}
	}
	six := slices.ContainsFunc(b.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if err := k.family6(k.ns, b.Name, six); err != nil {
		return err
	}
	if err := k.holdAll(l, b.Addrs); err != nil {
		return fmt.Errorf("link: addresses of %s: %w", b.Name, err)
	}
	if b.Localnet {
		return k.Sysctl("net/ipv4/conf/"+b.Name+"/route_localnet", "1")
	}
	return nil
}

// family6 lets an interface have IPv6 addresses, those that it is given, or none. A
// machine without IPv6 has none anyway.
func (k *kernel) family6(ns *netns.Namespace, name string, on bool) error {
	in := &kernel{ns: ns}
	values := map[string]string{"disable_ipv6": "1"}
	if on {
		values = map[string]string{"disable_ipv6": "0", "accept_ra": "0"}
	}
	for key, value := range values {
		err := in.Sysctl("net/ipv6/conf/"+name+"/"+key, value)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && !on) {
			return err
		}
	}
	return nil
}

// holdAll makes addrs the only addresses of l, but for link-local ones.
func (k *kernel) holdAll(l netlink.Link, addrs []netip.Prefix) error {
	have, err := k.h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	missing := slices.Clone(addrs)
	for _, h := range have {
		p := prefixOf(h.IPNet)
		switch {
		case slices.Contains(missing, p):
			missing = slices.DeleteFunc(missing, func(m netip.Prefix) bool { return m == p })
		case p.Addr().Is6() && p.Addr().IsLinkLocalUnicast():
		default:
			if err := k.h.AddrDel(l, &h); err != nil {
				return err
			}
		}
	}
	for _, p := range missing {
		if err := k.h.AddrAdd(l, address(p)); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// address is p as an interface holds it. Nobody else is asked whether they have it:
// whoever gives out the addresses knows.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if !ok {
		return netip.Prefix{}
	}
	if size == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits)
}

func (k *kernel) Plug(p Plug) (err error) {
	ns, err := netns.Open(p.Namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	br, err := k.h.LinkByName(p.Bridge)
	if err != nil {
		return fmt.Errorf("link: find %s: %w", p.Bridge, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = p.Name, p.MTU, br.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: p.Inside, PeerHardwareAddr: p.MAC, PeerMTU: uint32(p.MTU),
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
	// The port has no addresses of its own: one that is up first gets some, and routes.
	if err := k.family6(k.ns, p.Name, false); err != nil {
		return err
	}
	l, err := k.h.LinkByName(p.Name)
	if err == nil {
		// Where the machine filters bridged packets (br_netfilter), those that translation
		// leads back to their sender leave by the port they came by.
		err = k.h.LinkSetHairpin(l, true)
	}
	if err == nil && p.Alone {
		err = k.h.LinkSetIsolated(l, true)
	}
	if err == nil {
		err = k.h.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("link: set up port %s: %w", p.Name, err)
	}
	if err := k.plugged(ns, p); err != nil {
		return fmt.Errorf("link: set up %s in %s: %w", p.Inside, p.Namespace, err)
	}
	// Being asked makes the kernel act at once on the carrier of an interface (Linux 6.7),
	// first the port's, then the bridge's. Else a bridge whose first port this is drops
	// everything for up to a second.
	for _, name := range []string{p.Name, p.Bridge} {
		if _, err := k.h.LinkByName(name); err != nil {
			return fmt.Errorf("link: find %s: %w", name, err)
		}
	}
	return nil
}

// plugged gives the end inside its addresses.
func (k *kernel) plugged(ns *netns.Namespace, p Plug) error {
	six := slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
	if err := k.family6(ns, p.Inside, six); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(p.Inside)
	if err != nil {
		return err
	}
	for _, a := range p.Addrs {
		if err := h.AddrAdd(l, address(a)); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return h.LinkSetUp(l)
}

func (k *kernel) Default(namespace string, four, six netip.Addr) error {
	ns, err := netns.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	defer h.Close()
	for _, f := range []struct {
		family, bits int
		gateway      netip.Addr
	}{{netlink.FAMILY_V4, 32, four}, {netlink.FAMILY_V6, 128, six}} {
		routes, err := h.RouteListFiltered(f.family, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("link: routes: %w", err)
		}
		found := false
		for _, r := range routes {
			if a, ok := netip.AddrFromSlice(r.Gw); ok && a.Unmap() == f.gateway {
				found = true
				continue
			}
			if len(r.Gw) == 0 {
				continue // not one of ours
			}
			if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("link: delete the default route: %w", err)
			}
		}
		if found || !f.gateway.IsValid() {
			continue
		}
		r := netlink.Route{Dst: &net.IPNet{IP: make(net.IP, f.bits/8), Mask: net.CIDRMask(0, f.bits)}, Gw: f.gateway.AsSlice()}
		if err := h.RouteAdd(&r); err != nil {
			return fmt.Errorf("link: default route via %s: %w", f.gateway, err)
		}
	}
	return nil
}

func (k *kernel) Interfaces() ([]Interface, error) {
	all, err := k.h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("link: list: %w", err)
	}
	var out []Interface
	for _, l := range all {
		a := l.Attrs()
		out = append(out, Interface{Name: a.Name, Index: a.Index, Master: a.MasterIndex, Up: a.Flags&net.FlagUp != 0, Loopback: a.Flags&net.FlagLoopback != 0})
	}
	return out, nil
}

func (k *kernel) Follow(ctx context.Context, changed func()) error {
	updates := make(chan netlink.LinkUpdate, 64)
	o := netlink.LinkSubscribeOptions{ErrorCallback: func(error) {}}
	if k.ns != nil {
		h := nsfd.NsHandle(k.ns.FD())
		o.Namespace = &h
	}
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), o); err != nil {
		return fmt.Errorf("link: follow interfaces: %w", err)
	}
	go func() {
		for range updates {
			for len(updates) > 0 {
				<-updates
			}
			changed()
		}
	}()
	return nil
}

func (k *kernel) Turn(name string, back int) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, 65535
	err := k.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if errors.Is(err, unix.EEXIST) {
		if err = k.Delete(name); err == nil {
			err = k.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		}
	}
	if err != nil {
		return 0, fmt.Errorf("link: make %s: %w", name, err)
	}
	l, err := k.h.LinkByName(name)
	if err == nil {
		err = k.h.LinkSetARPOff(l)
	}
	if err == nil {
		err = k.h.LinkSetUp(l)
	}
	if err == nil {
		// The other family needs no route to find a neighbour on the interface.
		r := netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: TurnAddr6.AsSlice(), Mask: net.CIDRMask(128, 128)}}
		if err = k.h.RouteReplace(&r); errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil // a machine without IPv6
		}
	}
	if err == nil {
		err = k.reflect(l.Attrs().Index, back)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("link: set up %s: %w", name, err), k.Delete(name))
	}
	return l.Attrs().Index, nil
}

// reflect makes what leaves by one interface come in at another.
func (k *kernel) reflect(from, to int) error {
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := k.h.QdiscAdd(q); err != nil {
		return err
	}
	for i, protocol := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
		f := &netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: from, Parent: netlink.HANDLE_MIN_EGRESS, Priority: uint16(i + 1), Protocol: protocol},
			Actions: []netlink.Action{&netlink.MirredAction{
				ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_STOLEN}, MirredAction: netlink.TCA_INGRESS_REDIR, Ifindex: to,
			}},
		}
		if err := k.h.FilterAdd(f); err != nil {
			return err
		}
	}
	return nil
}
