package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// sandbox is a container's connections.
type sandbox struct {
	mu    sync.Mutex // held through Connect, Disconnect and Leave; taken before Manager.mu
	ended bool       // no longer in the table
	// record changes under mu; its Ends under Manager.mu too, so that one is enough to
	// read them.
	record
}

// record is what of a sandbox is on disk.
type record struct {
	Container string
	Name      string
	NetNS     string
	Ends      []*end // in the order of connection

	Hostname, Domainname string
	Ports                []Port
	Bound                []Binding
	DNS                  []netip.Addr
	DNSSearch            []string
	DNSOptions           []string
	ExtraHosts           []Host
}

// end is one connection of a sandbox.
type end struct {
	Attachment
	Link     string // the near end of the pair, "" where there is none
	Priority int
	Internal bool
	Links    []Link
}

// sandbox finds the container's, or begins one, and locks it.
func (m *Manager) sandbox(e *Endpoint) *sandbox {
	for {
		m.mu.Lock()
		s := m.sandboxes[e.Container]
		if s == nil {
			s = &sandbox{record: record{
				Container: e.Container, Name: e.Name, NetNS: e.NetNS, Hostname: e.Hostname, Domainname: e.Domainname,
				Ports: e.Ports, DNS: e.DNS, DNSSearch: e.DNSSearch, DNSOptions: e.DNSOptions, ExtraHosts: e.ExtraHosts,
			}}
			m.sandboxes[e.Container] = s
		}
		m.mu.Unlock()
		s.mu.Lock()
		if !s.ended {
			return s
		}
		s.mu.Unlock()
	}
}

// locked finds the container's sandbox and locks it; nil where it has none. One that
// ended while it was waited for is none.
func (m *Manager) locked(container string) *sandbox {
	for {
		m.mu.Lock()
		s := m.sandboxes[container]
		m.mu.Unlock()
		if s == nil {
			return nil
		}
		s.mu.Lock()
		if !s.ended {
			return s
		}
		s.mu.Unlock()
	}
}

// Connect implements Networks.
func (m *Manager) Connect(_ context.Context, ref string, e Endpoint) (*Attachment, error) {
	a, err := m.connect(ref, e)
	if err == nil {
		m.changed(e.Container)
	}
	return a, err
}

func (m *Manager) connect(ref string, e Endpoint) (*Attachment, error) {
	if !containerID.MatchString(e.Container) {
		return nil, invalid("invalid container id %q", e.Container)
	}
	s := m.sandbox(&e)
	defer s.mu.Unlock()
	n, c, err := m.enter(ref, s, &e)
	if err == nil {
		if err = m.establish(n, s, c, &e); err != nil {
			err = errors.Join(err, m.drop(s, c))
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.endIfEmpty(s))
	}
	m.mu.Lock()
	m.tell("connect", n, s.Container)
	m.mu.Unlock()
	out := c.Attachment
	return &out, nil
}

// enter gives the container its place in the network: addresses and names.
func (m *Manager) enter(ref string, s *sandbox, e *Endpoint) (*network, *end, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(ref)
	if err != nil {
		return nil, nil, err
	}
	for n.leaving > 0 {
		m.left.Wait()
	}
	switch {
	case n.busy || m.networks[n.ID] != n:
		return nil, nil, notFound("network %s not found", ref)
	case n.ConfigOnly:
		return nil, nil, forbidden("configuration-only network %q cannot be used by containers", n.Name)
	case n.endpoints[e.Container] != nil:
		return nil, nil, forbidden("endpoint with name %s already exists in network %s", e.Name, n.Name)
	case (n.Driver != DriverBridge || slices.ContainsFunc(s.Ends, func(c *end) bool { return c.Link == "" })) && len(s.Ends) > 0:
		return nil, nil, forbidden("container cannot be connected to host and none networks together with others")
	}
	c := &end{Priority: e.Priority, Internal: n.Internal, Links: e.Links, Attachment: Attachment{
		NetworkID: n.ID, NetworkName: n.Name, EndpointID: newID(), Container: e.Container, Name: e.Name,
	}}
	if n.Driver == DriverBridge {
		if err := n.assign(s, c, e); err != nil {
			return nil, nil, err
		}
		c.Link = linkPrefix(m.o.Instance) + c.EndpointID[:6]
	}
	n.endpoints[e.Container] = &c.Attachment
	s.Ends = append(s.Ends, c)
	return n, c, nil
}

// assign gives c its addresses and names of interfaces.
func (n *network) assign(s *sandbox, c *end, e *Endpoint) error {
	for _, is4 := range []bool{true, false} {
		want, enabled := e.IPv6, n.IPv6
		if is4 {
			want, enabled = e.IPv4, n.IPv4
		}
		if !enabled {
			continue
		}
		p, a, err := n.give(is4, want)
		if err != nil {
			n.giveBack(c)
			return err
		}
		if is4 {
			c.IPv4 = netip.PrefixFrom(a, p.subnet.Bits())
		} else {
			c.IPv6 = netip.PrefixFrom(a, p.subnet.Bits())
		}
		for _, g := range n.gateways() {
			switch {
			case n.Internal || !p.subnet.Contains(g.Addr()):
			case is4:
				c.Gateway4 = g.Addr()
			default:
				c.Gateway6 = g.Addr()
			}
		}
	}
	c.MAC = e.MAC
	if len(c.MAC) == 0 {
		c.MAC = macOf(c)
	}
	if !n.Predefined() {
		c.DNSNames = e.DNSNames()
	}
	for i := 0; ; i++ {
		c.Interface = n.config.prefix + strconv.Itoa(i)
		if !slices.ContainsFunc(s.Ends, func(o *end) bool { return o.Interface == c.Interface }) {
			return nil
		}
	}
}

// give takes an address of a family: the one wanted, or the lowest free one.
func (n *network) give(is4 bool, want netip.Addr) (*pool, netip.Addr, error) {
	why := errFull
	for _, p := range n.pools {
		if p.subnet.Addr().Is4() != is4 || (want.IsValid() && !p.subnet.Contains(want)) {
			continue
		}
		if want.IsValid() {
			if err := p.take(want); err != nil {
				return nil, want, forbidden("%v", err)
			}
			return p, want, nil
		}
		a, err := p.next()
		if err == nil {
			return p, a, nil
		}
		why = err
	}
	if want.IsValid() {
		return nil, want, invalid("invalid endpoint settings:\nno configured subnet or ip-range contain the IP address %s", want)
	}
	if is4 {
		return nil, want, forbidden("%v", why)
	}
	return nil, want, forbidden("no available IPv6 addresses on this network's address pools")
}

func (n *network) giveBack(c *end) {
	for _, a := range []netip.Prefix{c.IPv4, c.IPv6} {
		for _, p := range n.pools {
			if a.IsValid() && p.subnet.Contains(a.Addr()) {
				p.release(a.Addr())
			}
		}
	}
}

// macOf makes a hardware address of the address, so that who gets the address again
// is found where the one before was.
func macOf(c *end) net.HardwareAddr {
	if c.IPv4.IsValid() {
		b := c.IPv4.Addr().As4()
		return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
	}
	b := c.IPv6.Addr().As16()
	return net.HardwareAddr{0x02, 0x42, b[12], b[13], b[14], b[15]}
}

// establish brings what enter has settled to the machine. s is locked.
func (m *Manager) establish(n *network, s *sandbox, c *end, e *Endpoint) error {
	if err := m.store.saveSandbox(&s.record); err != nil {
		return err
	}
	if n.Driver != DriverBridge {
		return nil
	}
	if err := m.machine.attach(n, &s.record, c, e.Sysctls); err != nil {
		return fmt.Errorf("connect %s to network %s: %w", s.Name, n.Name, err)
	}
	return m.settle(s)
}

// settle gives the container the gateway, the published ports and the names that
// follow from its connections. s is locked.
func (m *Manager) settle(s *sandbox) error {
	four, six := s.gateway(true), s.gateway(false)
	if err := m.machine.route(&s.record, four, six); err != nil {
		return fmt.Errorf("default route of %s: %w", s.Name, err)
	}
	if out := four; len(s.Bound) == 0 && len(s.Ports) > 0 && (four != nil || six != nil) {
		if out == nil {
			out = six
		}
		m.mu.Lock()
		bound, err := m.ports.choose(s.Ports, m.networks[out.NetworkID].config.binding, m.machine)
		m.mu.Unlock()
		if err == nil {
			s.Bound = bound
			err = m.store.saveSandbox(&s.record)
		}
		if err != nil {
			return failed("driver failed programming external connectivity on endpoint %s (%s): %v", s.Name, out.EndpointID, err)
		}
	}
	if err := m.machine.publish(s.Container, s.forwards(four, six)); err != nil {
		return fmt.Errorf("publish ports of %s: %w", s.Name, err)
	}
	return m.serveNames(s)
}

// gateway is the connection whose network the container reaches the world by: the one
// of highest priority, of equal ones that whose network's name comes first.
func (s *sandbox) gateway(is4 bool) *end {
	var best *end
	for _, c := range s.Ends {
		if c.Internal || (is4 && !c.Gateway4.IsValid()) || (!is4 && !c.Gateway6.IsValid()) {
			continue
		}
		if best == nil || c.Priority > best.Priority || (c.Priority == best.Priority && c.NetworkName < best.NetworkName) {
			best = c
		}
	}
	return best
}

// forward is a published port: where to it leads.
type forward struct {
	Binding
	To netip.AddrPort
}

// forwards leads each bound port to the container's address of its family, else to
// that of the other.
func (s *sandbox) forwards(four, six *end) []forward {
	var out []forward
	for _, b := range s.Bound {
		var to netip.Addr
		switch {
		case four != nil && (b.HostIP.Is4() || six == nil):
			to = four.IPv4.Addr()
		case six != nil:
			to = six.IPv6.Addr()
		default:
			continue
		}
		out = append(out, forward{b, netip.AddrPortFrom(to, b.Container)})
	}
	return out
}

// Disconnect implements Networks.
func (m *Manager) Disconnect(_ context.Context, ref, container string) error {
	err := m.disconnect(ref, container)
	if err == nil {
		m.changed(container)
	}
	return err
}

func (m *Manager) disconnect(ref, container string) error {
	m.mu.Lock()
	n, err := m.find(ref)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	s := m.locked(container)
	if s == nil {
		return forbidden("container %s is not connected to network %s", container, n.Name)
	}
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.Ends, func(c *end) bool { return c.NetworkID == n.ID })
	if i < 0 {
		return forbidden("container %s is not connected to network %s", container, n.Name)
	}
	if n.Driver == DriverHost {
		return forbidden("container cannot be disconnected from host network or connected to host network")
	}
	if err := m.drop(s, s.Ends[i]); err != nil {
		return fmt.Errorf("disconnect %s from network %s: %w", s.Name, n.Name, err)
	}
	if err := m.settle(s); err != nil {
		return fmt.Errorf("disconnect %s from network %s: %w", s.Name, n.Name, err)
	}
	return m.endIfEmpty(s)
}

// drop takes one connection from the machine, then from the table. s is locked.
func (m *Manager) drop(s *sandbox, c *end) error {
	if c.Link != "" {
		if err := m.machine.detach(&s.record, c); err != nil {
			return err
		}
	}
	m.mu.Lock()
	s.Ends = slices.DeleteFunc(s.Ends, func(o *end) bool { return o == c })
	if n := m.networks[c.NetworkID]; n != nil {
		n.giveBack(c)
		delete(n.endpoints, s.Container)
		m.tell("disconnect", n, s.Container)
	}
	m.mu.Unlock()
	if len(s.Ends) == 0 {
		return nil // endIfEmpty or Leave takes the record away
	}
	return m.store.saveSandbox(&s.record)
}

// endIfEmpty forgets a container without connections. s is locked.
func (m *Manager) endIfEmpty(s *sandbox) error {
	if len(s.Ends) > 0 {
		return nil
	}
	m.stopNames(s.Container)
	err := errors.Join(m.machine.publish(s.Container, nil), m.store.removeSandbox(s.Container))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports.giveBack(s.Bound, m.machine)
	s.Bound, s.ended = nil, true
	delete(m.sandboxes, s.Container)
	return err
}

// Leave implements Networks. Nothing leads to the container when it returns; taking
// its interfaces away, for which the kernel waits longer than for all else, goes on.
// Until that is done nobody gets its addresses, and who wants one waits.
func (m *Manager) Leave(_ context.Context, container string) error {
	s := m.locked(container)
	if s == nil {
		return nil
	}
	defer s.mu.Unlock()
	m.stopNames(container)
	// Without a record the interfaces are nobody's: if this process ends now, the next
	// takes them away.
	err := errors.Join(m.machine.publish(container, nil), m.store.removeSandbox(container))
	if err != nil {
		return fmt.Errorf("disconnect %s: %w", s.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range s.Ends {
		if n := m.networks[c.NetworkID]; n != nil {
			delete(n.endpoints, container)
			m.tell("disconnect", n, container)
			if c.Link != "" {
				n.leaving++
				m.ending.Go(func() { m.end(n, s, c) })
			}
		}
	}
	m.ports.giveBack(s.Bound, m.machine)
	s.Bound, s.ended = nil, true
	delete(m.sandboxes, container)
	return nil
}

// end takes away the interface of a container that has left.
func (m *Manager) end(n *network, s *sandbox, c *end) {
	err := m.machine.detach(&s.record, c)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		n.giveBack(c)
	} else {
		// The next start of this process tries again; until then the address stays taken.
		m.o.Log.Error("the interface of a container that has ended stays", "container", s.Name, "network", n.Name, "err", err)
	}
	n.leaving--
	m.left.Broadcast()
}

// Attached implements Networks.
func (m *Manager) Attached(_ context.Context, container string) (map[string]Attachment, []Binding, error) {
	out := map[string]Attachment{}
	s := m.locked(container)
	if s == nil {
		return out, nil, nil
	}
	defer s.mu.Unlock()
	for _, c := range s.Ends {
		out[c.NetworkName] = c.Attachment
	}
	return out, slices.Clone(s.Bound), nil
}

// changed tells of files that are others now: the container's, and those of
// containers with a link to it.
func (m *Manager) changed(container string) {
	if m.o.Changed == nil {
		return
	}
	m.mu.Lock()
	s := m.sandboxes[container]
	var who []string
	for id, other := range m.sandboxes {
		if s != nil && id != container && other.linksTo(s) {
			who = append(who, id)
		}
	}
	m.mu.Unlock()
	for _, id := range who {
		m.o.Changed(id)
	}
}
