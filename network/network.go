package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/cache"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
	"skiff.dev/skiff/telemetry"
)

// Options say where a Network works.
type Options struct {
	// Instance names everything that the machine sees: at most 8 lower-case letters
	// and digits, unique on the machine.
	Instance string
	// Cache follows Services, EndpointSlices and Nodes.
	Cache    cache.Cache
	NodeName string
	// NodeIP is the source address of what the node itself sends to pods; the
	// gateway's where none is given.
	NodeIP netip.Addr
	// PodCIDR is this node's range. Where it is not known yet it comes from the
	// Node's spec, and Add fails with ErrNoRange until then.
	PodCIDR netip.Prefix
	// ClusterCIDR is the range of all pods, ServiceCIDR that of cluster IPs.
	ClusterCIDR, ServiceCIDR netip.Prefix
	// RunDir remembers pods across restarts; it should not outlive the machine's.
	RunDir string
	// NodePortAddresses restricts the addresses that node ports are served on; none
	// is all of the node's.
	NodePortAddresses []netip.Prefix
	Telemetry         *telemetry.Telemetry

	// Host and NFT are the kernel's, where none are given.
	Host link.Host
	NFT  nft.Conn
}

// Network is one node's network.
type Network struct {
	opts    Options
	host    link.Host
	records records
	proxy   *proxy
	mtu     int

	mu      sync.Mutex // guards what follows
	ipam    *ipam      // nil while the range is unknown
	gateway netip.Addr
	pods    map[string]*connection
	links   map[string]bool // names given to pods
	ranged  chan struct{}   // closed when the range is known
}

var instanceName = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// New takes over what an earlier process of the instance left: its pods keep their
// addresses, and its services are served until Run knows better. Add and Remove
// work at once.
func New(o Options) (*Network, error) {
	if !instanceName.MatchString(o.Instance) {
		return nil, fmt.Errorf("network: instance %q: want at most 8 lower-case letters and digits", o.Instance)
	}
	if !o.ClusterCIDR.IsValid() || !o.ServiceCIDR.IsValid() {
		return nil, errors.New("network: the ranges of pods and services are needed")
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	var err error
	if o.Host == nil {
		if o.Host, err = link.Open(nil); err != nil {
			return nil, err
		}
	}
	if o.NFT == nil {
		if o.NFT, err = nft.Open(nil); err != nil {
			return nil, err
		}
	}
	l := layout{o.Instance, o.ClusterCIDR.Masked(), o.ServiceCIDR.Masked(), o.NodePortAddresses}
	n := &Network{
		opts: o, host: o.Host, records: records{filepath.Join(o.RunDir, "pods")},
		proxy: newProxy(o.NFT, o.Host, l, o.NodeName),
		pods:  map[string]*connection{}, links: map[string]bool{}, ranged: make(chan struct{}),
	}
	if n.mtu, err = n.host.Uplink(); err != nil {
		return nil, err
	}
	if err := n.host.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	if err := n.adopt(); err != nil {
		return nil, err
	}
	if o.PodCIDR.IsValid() {
		if err := n.SetPodCIDR(o.PodCIDR); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// adopt loads the pods of an earlier process, deletes interfaces that belong to
// none, and makes the table if there is none.
func (n *Network) adopt() error {
	names, err := n.host.Names(podPrefix(n.opts.Instance))
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		there[name] = true
	}
	recs, err := n.records.load()
	if err != nil {
		return err
	}
	pods := map[string]*fragment{}
	for _, rec := range recs {
		if !there[rec.Link] {
			if err := n.records.remove(rec.UID); err != nil {
				return err
			}
			continue
		}
		delete(there, rec.Link)
		n.pods[rec.UID] = &connection{rec: rec, up: true}
		n.links[rec.Link] = true
		pods[podOwner(rec.UID)] = podFragment(rec)
	}
	for name := range there {
		if err := n.host.Delete(name); err != nil {
			return err
		}
	}
	return n.proxy.adopt(pods)
}

// adopt takes the pods in. A table that an earlier process left is kept as it is;
// where there is none it is made.
func (p *proxy) adopt(pods map[string]*fragment) error {
	p.apply.Lock()
	defer p.apply.Unlock()
	p.rules.change(pods)
	there, err := p.nft.Exists(p.rules.table)
	if err != nil || there {
		return err
	}
	if err := p.nft.Apply(p.rules.full()); err != nil {
		return err
	}
	p.known = true
	return nil
}

// SetPodCIDR gives the node its range. The same again changes nothing; another one
// holds for pods added from then on.
func (n *Network) SetPodCIDR(p netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ipam != nil && n.ipam.prefix == p.Masked() {
		return nil
	}
	m, err := newIPAM(p)
	if err != nil {
		return err
	}
	for _, c := range n.pods {
		m.take(c.rec.Addr)
	}
	gateway := m.gateway()
	anchor := link.Anchor{
		Name: anchorName(n.opts.Instance), Addr: netip.PrefixFrom(gateway, m.prefix.Bits()),
		// The node reaches services also without a default route, and what is sent to a
		// service that is not there does not leave it.
		Networks: []netip.Prefix{n.opts.ServiceCIDR.Masked()}, From: n.source(gateway),
	}
	if err := n.host.Anchor(anchor); err != nil {
		return err
	}
	if n.ipam == nil {
		close(n.ranged)
	}
	n.ipam, n.gateway = m, gateway
	return nil
}

// source is the address that the node's own packets to pods and services have. A
// server that listens on all addresses answers UDP from it: it must be the one
// that pods know the node by.
func (n *Network) source(gateway netip.Addr) netip.Addr {
	if n.opts.NodeIP.Is4() {
		return n.opts.NodeIP
	}
	return gateway
}

// Gateway is the node's own address in its range, where the node's DNS listens. It
// waits until the range is known.
func (n *Network) Gateway(ctx context.Context) (netip.Addr, error) {
	select {
	case <-ctx.Done():
		return netip.Addr{}, ctx.Err()
	case <-n.ranged:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gateway, nil
}

// Run follows the API's objects until ctx ends, and keeps the kernel's table and
// routes equal to them.
func (n *Network) Run(ctx context.Context) error {
	n.warnOfDrops()
	if err := n.follow(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { n.guard(ctx) })
	n.proxy.run(ctx, func(err error) <-chan struct{} {
		n.opts.Telemetry.Log.Error("services are not up to date", "err", err)
		pause, done := context.WithTimeout(ctx, time.Second)
		context.AfterFunc(pause, done)
		return pause.Done()
	})
	cancel()
	wg.Wait()
	return nil
}

// guard looks now and then whether someone took the table away, as flushing the
// whole ruleset does.
func (n *Network) guard(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := n.proxy.check(); err != nil {
				n.opts.Telemetry.Log.Error("cannot look after the nftables table", "err", err)
			}
		}
	}
}

// warnOfDrops tells of firewalls that drop what pods send: whatever this table
// accepts, they decide too, and they are not ours to change.
func (n *Network) warnOfDrops() {
	foreign, err := n.opts.NFT.ForeignDrops(n.opts.Instance)
	if err != nil {
		n.opts.Telemetry.Log.Warn("cannot look for firewalls", "err", err)
	}
	if len(foreign) > 0 {
		n.opts.Telemetry.Log.Warn("a firewall on this machine drops forwarded packets unless a rule accepts them: pods reach nothing outside their node, and not each other, until it accepts the pod CIDR",
			"tables", foreign, "podCIDR", n.opts.ClusterCIDR)
	}
}

// Routes lists the ranges that the machine's routes and addresses use, for the
// choice of free ones.
func Routes() ([]netip.Prefix, error) {
	h, err := link.Open(nil)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.Routes()
}

// Wipe takes every trace of an instance from the machine: interfaces with their
// routes, the table, and what runDir remembers. The instance must not run.
func Wipe(instance, runDir string) error {
	h, err := link.Open(nil)
	if err != nil {
		return err
	}
	defer h.Close()
	t, err := nft.Open(nil)
	if errors.Is(err, nft.ErrNone) {
		return wipe(instance, runDir, h, nil) // no table either
	}
	if err != nil {
		return err
	}
	defer t.Close()
	return wipe(instance, runDir, h, t)
}

// wipe leaves the table alone where t is nil.
func wipe(instance, runDir string, h link.Host, t nft.Conn) error {
	if !instanceName.MatchString(instance) {
		return fmt.Errorf("network: %q is no instance", instance)
	}
	names, err := h.Names(podPrefix(instance))
	errs := []error{err}
	for _, name := range append(names, anchorName(instance)) {
		errs = append(errs, h.Delete(name))
	}
	if t != nil {
		tx := nft.NewTx(instance)
		tx.Drop()
		errs = append(errs, t.Apply(tx))
	}
	if runDir != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(runDir, "pods")))
	}
	return errors.Join(errs...)
}

// Wipe takes every trace of the instance from the machine.
func (n *Network) Wipe() error {
	return wipe(n.opts.Instance, n.opts.RunDir, n.host, n.opts.NFT)
}
