package network

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kernel/link"
)

// inside is the name of a pod's interface within its namespace.
const inside = "eth0"

// connection is a pod that has, or is getting, an address.
type connection struct {
	mu    sync.Mutex // held through Add and Remove of the pod
	rec   record
	up    bool // everything of rec is in the kernel
	ended bool
}

// Add gives the pod's namespace an interface and an address, and opens its host
// ports. Again for the same pod it gives the same address, and makes good what is
// missing. It fails with ErrNoRange while the node has no pod CIDR.
func (n *Network) Add(ctx context.Context, r PodRequest) (PodStatus, error) {
	for {
		if err := ctx.Err(); err != nil {
			return PodStatus{}, err
		}
		c, err := n.connection(r.UID)
		if err != nil {
			return PodStatus{}, fmt.Errorf("connect pod %s/%s: %w", r.Namespace, r.Name, err)
		}
		c.mu.Lock()
		if c.ended { // removed meanwhile: begin again
			c.mu.Unlock()
			continue
		}
		err = n.connect(c, r)
		addr := c.rec.Addr
		c.mu.Unlock()
		if err != nil {
			return PodStatus{}, fmt.Errorf("connect pod %s/%s: %w", r.Namespace, r.Name, err)
		}
		return PodStatus{IPs: []string{addr.String()}}, nil
	}
}

// connection finds the pod's, or makes one with an address and a name of its own.
func (n *Network) connection(uid string) (*connection, error) {
	if _, err := n.records.file(uid); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.pods[uid]; c != nil {
		return c, nil
	}
	if n.ipam == nil {
		return nil, ErrNoRange
	}
	a, err := n.ipam.next()
	if err != nil {
		return nil, err
	}
	c := &connection{rec: record{UID: uid, Addr: a}}
	for i := 0; ; i++ {
		c.rec.Link = linkName(n.opts.Instance, uid, i)
		if !n.links[c.rec.Link] {
			break
		}
	}
	n.links[c.rec.Link] = true
	n.pods[uid] = c
	return c, nil
}

// linkName makes an interface name of the uid; try is for the case that two uids
// give the same one.
func linkName(instance, uid string, try int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", uid, try))
	name := podPrefix(instance) + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	return name[:15] // IFNAMSIZ less its end
}

// connect brings the kernel to what r asks. c.mu is held.
func (n *Network) connect(c *connection, r PodRequest) error {
	ports := slices.Clone(r.HostPorts)
	same := c.rec.NetNS == r.NetNS && slices.Equal(c.rec.HostPorts, ports)
	if c.up && same {
		// The interface goes with its namespace: a path may hold a new one.
		if there, err := n.host.Exists(c.rec.Link); err != nil || there {
			return err
		}
	}
	replace := c.up && c.rec.NetNS != r.NetNS
	c.up = false
	c.rec.Namespace, c.rec.Name, c.rec.NetNS, c.rec.HostPorts = r.Namespace, r.Name, r.NetNS, ports
	if err := n.records.save(c.rec); err != nil {
		return err
	}
	if replace {
		if err := n.host.Delete(c.rec.Link); err != nil {
			return err
		}
	}
	if there, err := n.host.Exists(c.rec.Link); err != nil {
		return err
	} else if !there {
		if err := n.pair(c.rec); err != nil {
			return err
		}
	}
	if err := n.proxy.set(podOwner(c.rec.UID), podFragment(c.rec)); err != nil {
		return err
	}
	c.up = true
	return nil
}

func (n *Network) pair(rec record) error {
	n.mu.Lock()
	gateway := n.gateway
	n.mu.Unlock()
	p := link.Pair{
		Name: rec.Link, Inside: inside, Namespace: rec.NetNS, MTU: n.mtu,
		Addr: rec.Addr, From: n.source(gateway), Gateway: gateway, Localnet: true,
	}
	err := n.host.Pair(p)
	if errors.Is(err, link.ErrExists) {
		if err = n.host.Delete(p.Name); err == nil {
			err = n.host.Pair(p)
		}
	}
	return err
}

func podOwner(uid string) string { return "pod/" + uid }

// podFragment is what the table holds for a pod.
func podFragment(rec record) *fragment {
	f := newFragment()
	f.put(setHairpin, fmt.Sprintf("%s . %s", rec.Addr, rec.Addr), "")
	for _, h := range rec.HostPorts {
		proto := strings.ToLower(string(h.Protocol))
		if proto == "" {
			proto = "tcp"
		}
		to := fmt.Sprintf("%s . %d", rec.Addr, h.Pod)
		at, err := netip.ParseAddr(h.HostIP)
		switch {
		case h.HostIP != "" && (err != nil || !at.Unmap().Is4()):
			continue // an address of the other family
		case h.HostIP == "" || at.IsUnspecified():
			f.put(setHostPorts, fmt.Sprintf("%s . %d", proto, h.Host), to)
			at = netip.IPv4Unspecified()
		default:
			at = at.Unmap()
			f.put(setHostPortsAt, fmt.Sprintf("%s . %s . %d", at, proto, h.Host), to)
		}
		if h.Protocol == v1.ProtocolUDP {
			vip := netip.AddrPortFrom(at, h.Host)
			f.udp[vip] = append(f.udp[vip], netip.AddrPortFrom(rec.Addr, h.Pod))
		}
	}
	return f
}

// Remove undoes Add. An unknown pod is no error.
func (n *Network) Remove(_ context.Context, uid string) error {
	n.mu.Lock()
	c := n.pods[uid]
	n.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	c.up = false
	err := errors.Join(n.proxy.set(podOwner(uid), nil), n.host.Delete(c.rec.Link))
	if err == nil {
		err = n.records.remove(uid)
	}
	if err != nil {
		return fmt.Errorf("disconnect pod %s/%s: %w", c.rec.Namespace, c.rec.Name, err)
	}
	c.ended = true
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, uid)
	delete(n.links, c.rec.Link)
	if n.ipam != nil {
		n.ipam.release(c.rec.Addr)
	}
	return nil
}

// Keep removes all pods but those named: after a restart, what remained of pods
// that are no more.
func (n *Network) Keep(ctx context.Context, uids []string) error {
	keep := make(map[string]bool, len(uids))
	for _, u := range uids {
		keep[u] = true
	}
	n.mu.Lock()
	var gone []string
	for u := range n.pods {
		if !keep[u] {
			gone = append(gone, u)
		}
	}
	n.mu.Unlock()
	slices.Sort(gone)
	var errs []error
	for _, u := range gone {
		errs = append(errs, n.Remove(ctx, u))
	}
	return errors.Join(errs...)
}
