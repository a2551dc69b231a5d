// Package nodeipam gives each node a slice of the cluster's pod addresses.
//
// Reads: Nodes.
// Writes: spec.podCIDR and spec.podCIDRs of Nodes.
package nodeipam

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

type controller struct {
	env    *loop.Env
	events loop.Recorder
	pool   netip.Prefix
	bits   int
}

// Start runs the controller until ctx ends; without a range it does nothing.
func Start(ctx context.Context, env *loop.Env) error {
	if env.Config.PodCIDR == "" {
		return nil
	}
	pool, err := netip.ParsePrefix(env.Config.PodCIDR)
	if err != nil {
		return fmt.Errorf("nodeipam: range of pods: %w", err)
	}
	bits := env.Config.NodeMask
	if bits == 0 {
		bits = 24
		if pool.Addr().Is6() {
			bits = 64
		}
	}
	if bits < pool.Bits() || bits > pool.Addr().BitLen() {
		return fmt.Errorf("nodeipam: slices of /%d do not fit into %s", bits, pool)
	}
	c := &controller{env: env, events: env.Recorder("cidrAllocator"), pool: pool.Masked(), bits: bits}
	// One worker: two would give one slice twice.
	l := loop.New(ctx, env, "nodeipam", 1, reconcile.Func(c.reconcile))
	loop.On(l, &corev1.Node{}, func(_, n *corev1.Node) {
		if n != nil && n.Spec.PodCIDR == "" && n.DeletionTimestamp == nil {
			l.Add(loop.Key(n))
		}
	})
	return l.Start()
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	// The server's word, not a cache's: what was just given must be seen.
	var nodes corev1.NodeList
	if err := c.env.Client.List(ctx, &nodes, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	taken := map[netip.Prefix]bool{}
	var node *corev1.Node
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Name == r.Name {
			node = n
		}
		for _, cidr := range append(n.Spec.PodCIDRs, n.Spec.PodCIDR) {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				taken[p.Masked()] = true
			}
		}
	}
	if node == nil || node.Spec.PodCIDR != "" {
		return reconcile.Result{}, nil
	}
	free, ok := next(c.pool, c.bits, taken)
	if !ok {
		c.events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: %s", node.Name, "CIDRNotAvailable")
		return reconcile.Result{}, fmt.Errorf("no slice of %s is left for node %s", c.pool, node.Name)
	}
	base := node.DeepCopy()
	change := node.DeepCopy()
	change.Spec.PodCIDR, change.Spec.PodCIDRs = free.String(), []string{free.String()}
	return reconcile.Result{}, c.env.Client.Patch(ctx, change, crclient.StrategicMergeFrom(base))
}

// next finds the first slice of pool that overlaps none of those taken.
func next(pool netip.Prefix, bits int, taken map[netip.Prefix]bool) (netip.Prefix, bool) {
	p := netip.PrefixFrom(pool.Addr(), bits)
	for pool.Contains(p.Addr()) {
		if !overlaps(p, taken) {
			return p, true
		}
		addr, ok := advance(p.Addr(), bits)
		if !ok {
			break
		}
		p = netip.PrefixFrom(addr, bits)
	}
	return netip.Prefix{}, false
}

func overlaps(p netip.Prefix, taken map[netip.Prefix]bool) bool {
	if taken[p] {
		return true
	}
	for t := range taken {
		if t.Bits() != p.Bits() && t.Overlaps(p) {
			return true
		}
	}
	return false
}

// advance adds one slice of so many bits to an address.
func advance(a netip.Addr, bits int) (netip.Addr, bool) {
	if a.Is4() {
		b := a.As4()
		n := uint64(binary.BigEndian.Uint32(b[:])) + 1<<(32-bits)
		if n >= 1<<32 {
			return a, false
		}
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b), true
	}
	b := a.As16()
	for i, carry := (bits-1)/8, uint16(1)<<((8-bits%8)%8); i >= 0; i-- {
		sum := uint16(b[i]) + carry
		b[i], carry = byte(sum), sum>>8
		if carry == 0 {
			return netip.AddrFrom16(b), true
		}
	}
	return a, false
}
