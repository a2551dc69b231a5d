package bridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options of New.
type Options struct {
	// Instance names what the machine sees: at most 8 lower-case letters and digits,
	// unique on the machine.
	Instance string
	// Dir keeps the state: D/docker/networks.
	Dir string
	// Bridge is the wanted name of the default network's interface; it is taken if
	// nobody else has it. "" is made of the instance.
	Bridge string
	// Taken lists ranges that no network may be given by choice, besides those that
	// the machine's routes use.
	Taken []netip.Prefix
	// IgnoreHostFirewall publishes ports as Docker does: rules of the host's input
	// hook do not see what is sent to them.
	IgnoreHostFirewall bool
	// Changed, where given, is told that a container's Files are others now. It is
	// called without locks, and may call back.
	Changed func(container string)
	// Event, where given, is told of what happened to a network: "create", "destroy", and
	// "connect" and "disconnect" of a container. It must not call back.
	Event func(action string, n *Network, container string)
	Log   *slog.Logger
}

// Manager is Networks on one machine.
type Manager struct {
	o       Options
	machine machine
	store   store

	mu        sync.Mutex // guards what follows
	networks  map[string]*network
	sandboxes map[string]*sandbox
	ports     ports
	left      sync.Cond      // told when a network's leaving has become less; its lock is mu
	ending    sync.WaitGroup // interfaces of containers that have left
}

var _ Networks = (*Manager)(nil)

// network is a Network with what its options mean and who is in it.
type network struct {
	Network
	config    config
	pools     []*pool // one for each of IPAM.Config
	endpoints map[string]*Attachment
	busy      bool // being made or removed
	leaving   int  // connections of containers that have ended, whose interfaces go
}

// machine is what a Manager has done. Undoing what is not there is no error.
type machine interface {
	opener
	// routes lists what no network may be given by choice.
	routes() ([]netip.Prefix, error)
	// begin is called once, with the networks and the containers of an earlier process:
	// their interfaces and rules are mended, and nothing else of the instance stays.
	begin(ns []*network, running []*sandbox) error
	// free tells whether no interface has the name.
	free(name string) (bool, error)
	// makeBridge makes the network's interface and what isolates it, or mends them.
	makeBridge(n *network) error
	removeBridge(n *network) error
	// attach connects the container's namespace to the network.
	attach(n *network, s *record, c *end, sysctls map[string]string) error
	detach(s *record, c *end) error
	// route makes these the container's ways to the world; nil is none.
	route(s *record, four, six *end) error
	// publish makes these the container's only published ports.
	publish(container string, to []forward) error
	// serve answers DNS at 127.0.0.11 in the container's namespace until unserve.
	// What is served already goes on.
	serve(s *record, r resolver) error
	unserve(container string)
	Close() error
}

func newManager(o Options, m machine, s store) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	out := &Manager{
		o: o, machine: m, store: s,
		networks: map[string]*network{}, sandboxes: map[string]*sandbox{}, ports: ports{},
	}
	out.left.L = &out.mu
	return out
}

func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// find looks a network up as clients name it. m.mu is held.
func (m *Manager) find(ref string) (*network, error) {
	if n := m.networks[ref]; n != nil {
		return n, nil
	}
	var found []*network
	for _, n := range m.networks {
		if n.Name == ref {
			return n, nil
		}
		if ref != "" && strings.HasPrefix(n.ID, ref) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, notFound("network %s not found", ref)
	}
	return nil, invalid("network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
}

// Get implements Networks.
func (m *Manager) Get(_ context.Context, ref string) (*Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	return n.view(), nil
}

// List implements Networks.
func (m *Manager) List(context.Context) ([]*Network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Network
	for _, n := range m.networks {
		out = append(out, n.view())
	}
	slices.SortFunc(out, func(a, b *Network) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// view is a copy for callers.
func (n *network) view() *Network {
	out := n.Network
	out.Options, out.Labels = maps.Clone(n.Options), maps.Clone(n.Labels)
	out.IPAM.Options, out.IPAM.Config = maps.Clone(n.IPAM.Options), slices.Clone(n.IPAM.Config)
	out.Attached, out.Usage = map[string]Attachment{}, map[netip.Prefix]Usage{}
	for c, a := range n.endpoints {
		out.Attached[c] = *a
	}
	for _, p := range n.pools {
		out.Usage[p.subnet] = p.usage()
	}
	return &out
}

// Create implements Networks.
func (m *Manager) Create(_ context.Context, s Spec) (*Network, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	n, err := m.reserve(s)
	if err != nil {
		return nil, err
	}
	if n.ConfigOnly {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := m.store.saveNetwork(&n.Network); err != nil {
			delete(m.networks, n.ID)
			return nil, err
		}
		n.busy = false
		m.tell("create", n, "")
		return n.view(), nil
	}
	// What is written before the bridge is made is taken away after a crash between
	// the two, for the record says that it was not finished.
	err = m.store.beginNetwork(&n.Network)
	if err == nil {
		err = m.machine.makeBridge(n)
	}
	if err == nil {
		err = m.store.saveNetwork(&n.Network)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.networks, n.ID)
		return nil, errors.Join(fmt.Errorf("create network %s: %w", s.Name, err), m.machine.removeBridge(n), m.store.removeNetwork(n.ID))
	}
	n.busy = false
	m.tell("create", n, "")
	return n.view(), nil
}

// tell tells Options.Event. m.mu is held.
func (m *Manager) tell(action string, n *network, container string) {
	if m.o.Event != nil {
		m.o.Event(action, &Network{ID: n.ID, Name: n.Name, Driver: n.Driver}, container)
	}
}

// reserve gives the network its id, its addresses and its place in the table.
func (m *Manager) reserve(s Spec) (*network, error) {
	routes, err := m.machine.routes()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.networks {
		if n.Name == s.Name {
			return nil, conflict("network with name %s already exists", s.Name)
		}
	}
	if err := m.inherit(&s); err != nil {
		return nil, err
	}
	n := &network{Network: Network{
		ID: newID(), Name: s.Name, Driver: DriverBridge, Created: time.Now().UTC(), IPv4: true, IPAM: s.IPAM,
		Internal: s.Internal, Attachable: s.Attachable, ConfigOnly: s.ConfigOnly, ConfigFrom: s.ConfigFrom,
		Options: s.Options, Labels: s.Labels,
	}, endpoints: map[string]*Attachment{}, busy: true}
	if n.IPAM.Driver == "" {
		n.IPAM.Driver = "default"
	}
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.IPv6 = s.IPv6 != nil && *s.IPv6
	n.IPv4 = s.IPv4 == nil || *s.IPv4
	if s.ConfigOnly {
		n.Driver = DriverNull
		m.networks[n.ID] = n
		return n, nil
	}
	if n.config, err = parseOptions(n.Options); err != nil {
		return nil, err
	}
	if n.config.bridge == "" {
		n.config.bridge = "br-" + n.ID[:12]
	} else {
		for _, other := range m.networks {
			if other.config.bridge == n.config.bridge {
				return nil, forbidden("cannot create network %s (%s): conflicts with network %s (%s): networks have same bridge name",
					n.ID, n.config.bridge, other.ID, other.config.bridge)
			}
		}
	}
	if err := m.address(n, routes); err != nil {
		return nil, err
	}
	m.networks[n.ID] = n
	return n, nil
}

// inherit takes over the settings of ConfigFrom.
func (m *Manager) inherit(s *Spec) error {
	if s.ConfigFrom == "" {
		return nil
	}
	from, err := m.find(s.ConfigFrom)
	if err != nil || !from.ConfigOnly {
		if err == nil {
			return forbidden("%q is not a configuration network", s.ConfigFrom)
		}
		return notFound("configuration network %q does not exist", s.ConfigFrom)
	}
	if len(s.IPAM.Config) > 0 || len(s.Options) > 0 || s.Internal {
		return forbidden("user specified configurations are not supported if the network depends on a configuration network")
	}
	v4, v6 := from.IPv4, from.IPv6
	s.IPAM, s.Internal, s.Options, s.IPv4, s.IPv6 = from.IPAM, from.Internal, maps.Clone(from.Options), &v4, &v6
	s.ConfigFrom = from.Name
	return nil
}

// address completes IPAM.Config: subnets and gateways that were not given. m.mu is
// held.
func (m *Manager) address(n *network, routes []netip.Prefix) error {
	var ours []netip.Prefix
	for _, other := range m.networks {
		for _, p := range other.pools {
			ours = append(ours, p.subnet)
		}
	}
	taken := slices.Concat(ours, routes, m.o.Taken)
	var out []Pool
	has4, has6 := false, false
	for _, p := range n.IPAM.Config {
		if !p.Subnet.IsValid() {
			continue // its family is added below
		}
		if p.Subnet.Addr().Is6() && !n.IPv6 || p.Subnet.Addr().Is4() && !n.IPv4 {
			out = append(out, p)
			continue
		}
		if overlaps(p.Subnet, ours) {
			return forbidden("invalid pool request: Pool overlaps with other one on this address space")
		}
		ours = append(ours, p.Subnet)
		has4, has6 = has4 || p.Subnet.Addr().Is4(), has6 || p.Subnet.Addr().Is6()
		out = append(out, p)
	}
	if n.IPv4 && !has4 {
		r, err := freeRange(taken)
		if err != nil {
			return err
		}
		out = append([]Pool{{Subnet: r}}, out...)
	}
	if n.IPv6 && !has6 {
		r, err := freeRange6(siteOf(sha256.Sum256([]byte("networks "+m.o.Instance+m.o.Dir))), taken)
		if err != nil {
			return err
		}
		out = append(out, Pool{Subnet: r})
	}
	for i := range out {
		if out[i].Gateway.IsValid() {
			continue
		}
		if out[i].Gateway = firstHost(out[i]); !out[i].Gateway.IsValid() {
			return forbidden("%v", errFull)
		}
	}
	n.IPAM.Config = out
	n.makePools()
	return nil
}

// makePools begins with nothing given out.
func (n *network) makePools() {
	n.pools = nil
	for _, p := range n.IPAM.Config {
		if p.Subnet.Addr().Is6() && !n.IPv6 || p.Subnet.Addr().Is4() && !n.IPv4 {
			continue
		}
		n.pools = append(n.pools, newPool(p))
	}
}

// gateway is the network's own address of a family: the bridge's, with the length of
// the subnet.
func (n *network) gateways() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range n.IPAM.Config {
		if p.Gateway.IsValid() && (n.IPv6 || p.Gateway.Is4()) && (n.IPv4 || p.Gateway.Is6()) {
			out = append(out, netip.PrefixFrom(p.Gateway, p.Subnet.Bits()))
		}
	}
	return out
}

// Remove implements Networks.
func (m *Manager) Remove(_ context.Context, ref string) (*Network, error) {
	n, err := m.claim(ref)
	if err != nil {
		return nil, err
	}
	if !n.ConfigOnly {
		err = m.machine.removeBridge(n)
	}
	if err == nil {
		err = m.store.removeNetwork(n.ID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n.busy = false
	if err != nil {
		return nil, fmt.Errorf("remove network %s: %w", n.Name, err)
	}
	delete(m.networks, n.ID)
	m.tell("destroy", n, "")
	return n.view(), nil
}

// claim finds a network that may be removed, and keeps others off it.
func (m *Manager) claim(ref string) (*network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	if n.Predefined() {
		return nil, forbidden("%s is a pre-defined network and cannot be removed", n.Name)
	}
	if n.busy {
		return nil, forbidden("network %s is being changed", n.Name)
	}
	if n.ConfigOnly {
		for _, other := range m.networks {
			if other.ConfigFrom == n.Name {
				return nil, forbidden("configuration network %q is in use", n.Name)
			}
		}
	}
	if len(n.endpoints) > 0 {
		var who []string
		for _, a := range n.endpoints {
			who = append(who, fmt.Sprintf("name:%q id:%q", a.Name, a.EndpointID[:12]))
		}
		slices.Sort(who)
		return nil, forbidden("error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(who, ", "))
	}
	n.busy = true
	for n.leaving > 0 {
		m.left.Wait()
	}
	return n, nil
}

// Prune implements Networks.
func (m *Manager) Prune(ctx context.Context, want func(*Network) bool) ([]*Network, error) {
	all, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Network
	var errs []error
	for _, n := range all {
		if n.Predefined() || len(n.Attached) > 0 || !want(n) {
			continue
		}
		gone, err := m.Remove(ctx, n.ID)
		var refused *Error // someone was quicker: connected a container or removed it
		switch {
		case err == nil:
			out = append(out, gone)
		case !errors.As(err, &refused):
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}
