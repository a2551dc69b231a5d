package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/nft"
)

// kernelMachine is machine on the kernel of one network namespace.
type kernelMachine struct {
	o      Options
	host   link.Bridges
	nft    nft.Conn
	ns     *netns.Namespace // where the host's sockets are; nil is the process's own
	tables tables
	turns  turns
	stop   context.CancelFunc

	mu     sync.Mutex
	held   map[Binding]*relay
	names  map[string]*nameServer // by container
	routed [2]bool                // forwarding of IPv4 and of IPv6 is on
}

var instanceName = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// New makes the networks of an instance. Restore comes next.
func New(o Options) (*Manager, error) { return newIn(nil, o) }

// newIn works on another namespace than the process's own, as tests do.
func newIn(ns *netns.Namespace, o Options) (*Manager, error) {
	if !instanceName.MatchString(o.Instance) {
		return nil, fmt.Errorf("bridge: instance %q: want at most 8 lower-case letters and digits", o.Instance)
	}
	if o.Dir == "" {
		return nil, errors.New("bridge: a directory for the state is needed")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	host, err := link.OpenBridges(ns)
	if err != nil {
		return nil, err
	}
	conn, err := nft.Open(ns)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	k := &kernelMachine{o: o, host: host, nft: conn, ns: ns, held: map[Binding]*relay{}, names: map[string]*nameServer{}}
	k.tables = tables{nft: conn, host: host, rules: newRules(tableName(o.Instance), o.IgnoreHostFirewall)}
	m := newManager(o, k, dirStore{o.Dir})
	k.o.Log = m.o.Log
	k.turns = turns{instance: o.Instance, host: host, tables: &k.tables}
	return m, nil
}

// tableName is no other instance's, nor that of an instance's pods: those have no
// dash.
func tableName(instance string) string { return instance + "-networks" }

func (k *kernelMachine) routes() ([]netip.Prefix, error) { return k.host.Routes() }

func (k *kernelMachine) free(name string) (bool, error) {
	there, err := k.host.Exists(name)
	return !there, err
}

// begin implements machine.
func (k *kernelMachine) begin(ns []*network, running []*sandbox) error {
	keep := map[string]bool{}
	for _, n := range ns {
		keep[n.config.bridge] = true
	}
	for _, s := range running {
		for _, c := range s.Ends {
			keep[c.Link] = true
		}
	}
	if err := k.sweep(keep); err != nil {
		return err
	}
	for _, n := range ns {
		if err := k.bridge(n); err != nil {
			return err
		}
		k.tables.rules.networks[n.ID] = n.rule()
	}
	for _, s := range running {
		if to := s.forwards(s.gateway(true), s.gateway(false)); len(to) > 0 {
			k.tables.rules.forwards[s.Container] = to
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	if !k.o.IgnoreHostFirewall {
		if err := k.turns.begin(ctx, k.o.Log); err != nil {
			return err
		}
	}
	if err := k.tables.begin(); err != nil {
		return err
	}
	k.warnOfDrops()
	go k.guard(ctx)
	return nil
}

// sweep deletes the instance's interfaces that belong to nothing.
func (k *kernelMachine) sweep(keep map[string]bool) error {
	names, err := k.host.Names(linkPrefix(k.o.Instance))
	if err != nil {
		return err
	}
	for _, name := range names {
		if keep[name] || strings.HasPrefix(name, turnPrefix(k.o.Instance)) {
			continue
		}
		if err := k.host.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// guard looks now and then whether someone took the tables away, as flushing the
// whole ruleset does.
func (k *kernelMachine) guard(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := k.tables.check(); err != nil {
				k.o.Log.Error("cannot look after the nftables tables of networks", "err", err)
			}
		}
	}
}

// warnOfDrops tells of firewalls that drop what containers send: they decide too, and
// are not ours to change.
func (k *kernelMachine) warnOfDrops() {
	foreign, err := k.nft.ForeignDrops(tableName(k.o.Instance))
	if err != nil {
		k.o.Log.Warn("cannot look for firewalls", "err", err)
	}
	if len(foreign) > 0 {
		k.o.Log.Warn("a firewall on this machine drops forwarded packets unless a rule accepts them: containers reach nothing outside, and nobody their ports, until it accepts them", "tables", foreign)
	}
}

func (n *network) rule() netRule {
	return netRule{bridge: n.config.bridge, internal: n.Internal, closed: !n.config.icc, hidden: n.config.masquerade && !n.Internal}
}

// bridge makes the network's interface.
func (k *kernelMachine) bridge(n *network) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, on := range []bool{n.IPv4, n.IPv6} {
		if !on || k.routed[i] {
			continue
		}
		if err := k.host.Sysctl([]string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}[i], "1"); err != nil {
			return err
		}
		k.routed[i] = true
	}
	sum := sha256.Sum256([]byte(n.ID))
	return k.host.Bridge(link.Bridge{
		Name: n.config.bridge, MTU: n.config.mtu, Addrs: n.gateways(), Localnet: true,
		// Without one of its own a bridge takes that of a port, and changes it with them.
		MAC: net.HardwareAddr{0x02, 0x42, sum[0], sum[1], sum[2], sum[3]},
	})
}

func (k *kernelMachine) makeBridge(n *network) error {
	if err := k.bridge(n); err != nil {
		return err
	}
	return k.tables.edit(func(r *rules) { r.networks[n.ID] = n.rule() })
}

func (k *kernelMachine) removeBridge(n *network) error {
	return errors.Join(k.host.Delete(n.config.bridge), k.tables.edit(func(r *rules) { delete(r.networks, n.ID) }))
}

func (k *kernelMachine) attach(n *network, s *record, c *end, sysctls map[string]string) error {
	p := link.Plug{
		Name: c.Link, Bridge: n.config.bridge, Inside: c.Interface, Namespace: s.NetNS, MTU: n.config.mtu,
		MAC: c.MAC, Alone: !n.config.icc,
	}
	for _, a := range []netip.Prefix{c.IPv4, c.IPv6} {
		if a.IsValid() {
			p.Addrs = append(p.Addrs, a)
		}
	}
	ns, err := netns.Open(s.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	inside, err := link.Open(ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := inside.Up("lo"); err != nil {
		return err
	}
	if err := k.host.Plug(p); err != nil {
		return err
	}
	for name, value := range sysctls {
		path, ok := sysctlPath(name, c.Interface)
		if !ok {
			return invalid("invalid sysctl %q: only those of the network namespace are set here", name)
		}
		if err := inside.Sysctl(path, value); err != nil {
			return err
		}
	}
	return nil
}

// sysctlPath is the file of a sysctl below net; IFNAME in it stands for the
// interface.
func sysctlPath(name, iface string) (string, bool) {
	path := strings.ReplaceAll(strings.ReplaceAll(name, ".", "/"), "IFNAME", iface)
	return path, strings.HasPrefix(path, "net/") && filepath.IsLocal(path) && filepath.Clean(path) == path
}

func (k *kernelMachine) detach(_ *record, c *end) error { return k.host.Delete(c.Link) }

func (k *kernelMachine) route(s *record, four, six *end) error {
	var g4, g6 netip.Addr
	if four != nil {
		g4 = four.Gateway4
	}
	if six != nil {
		g6 = six.Gateway6
	}
	if !slices.ContainsFunc(s.Ends, func(c *end) bool { return c.Link != "" }) {
		return nil // no interface of ours: nothing to lead
	}
	return k.host.Default(s.NetNS, g4, g6)
}

func (k *kernelMachine) publish(container string, to []forward) error {
	k.mu.Lock()
	for _, f := range to {
		if r := k.held[f.Binding]; r != nil {
			r.lead(f.To)
		}
	}
	k.mu.Unlock()
	return k.tables.publish(container, to)
}

func (k *kernelMachine) open(b Binding) error {
	r, err := newRelay(b, k.ns)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[b] = r
	return nil
}

func (k *kernelMachine) close(b Binding) {
	k.mu.Lock()
	r := k.held[b]
	delete(k.held, b)
	k.mu.Unlock()
	if r != nil {
		r.close()
	}
}

func (k *kernelMachine) serve(s *record, r resolver) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.names[s.Container] != nil {
		return nil
	}
	n, err := newNameServer(s.NetNS, r)
	if err != nil {
		return fmt.Errorf("serve names to %s: %w", s.Name, err)
	}
	k.names[s.Container] = n
	return nil
}

func (k *kernelMachine) unserve(container string) {
	k.mu.Lock()
	n := k.names[container]
	delete(k.names, container)
	k.mu.Unlock()
	if n != nil {
		n.close()
	}
}

// Close stops what this process serves. The kernel goes on.
func (k *kernelMachine) Close() error {
	if k.stop != nil {
		k.stop()
	}
	k.mu.Lock()
	held, served := k.held, k.names
	k.held, k.names = map[Binding]*relay{}, map[string]*nameServer{}
	k.mu.Unlock()
	for _, r := range held {
		r.close()
	}
	for _, n := range served {
		n.close()
	}
	k.turns.wait()
	return errors.Join(k.nft.Close(), k.host.Close())
}

// Withdraw takes every trace of an instance's networks from the machine. What dir
// remembers stays, and the next Restore makes the networks again. The instance must
// not run.
func Withdraw(instance, dir string) error { return withdrawIn(nil, instance, dir) }

func withdrawIn(ns *netns.Namespace, instance, dir string) error {
	if !instanceName.MatchString(instance) {
		return fmt.Errorf("bridge: %q is no instance", instance)
	}
	host, err := link.OpenBridges(ns)
	if err != nil {
		return err
	}
	defer host.Close()
	names, err := host.Names(linkPrefix(instance))
	errs := []error{err}
	if _, err := os.Stat(dir); err == nil {
		st, err := dirStore{dir}.load()
		if err != nil {
			return err
		}
		for _, rec := range slices.Concat(st.networks, st.begun) {
			if n, err := load(rec); err == nil && n.Driver == DriverBridge {
				names = append(names, n.config.bridge)
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		errs = append(errs, host.Delete(name))
	}
	conn, err := nft.Open(ns)
	switch {
	case err == nil:
		errs = append(errs, dropTables(conn, tableName(instance)), conn.Close())
	case !errors.Is(err, nft.ErrNone):
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
