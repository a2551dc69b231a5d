package link

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Fake is a network namespace in memory. The zero Fake is ready.
type Fake struct {
	// Fail, when set, may refuse a change before it happens: what is "anchor",
	// "pair", "delete", "via" or "sysctl".
	Fail func(what, name string) error
	// Flows are what Forget finds.
	Flows []Flow

	mu      sync.Mutex
	anchors map[string]Anchor
	pairs   map[string]Pair
	via     map[int]map[netip.Prefix]netip.Addr
	sysctls map[string]string
}

var _ Host = (*Fake)(nil)

// begin locks, and asks Fail.
func (f *Fake) begin(what, name string) error {
	f.mu.Lock()
	if f.anchors == nil {
		f.anchors, f.pairs = map[string]Anchor{}, map[string]Pair{}
		f.via, f.sysctls = map[int]map[netip.Prefix]netip.Addr{}, map[string]string{}
	}
	if f.Fail != nil {
		return f.Fail(what, name)
	}
	return nil
}

func (f *Fake) Anchor(a Anchor) error {
	defer f.mu.Unlock()
	if err := f.begin("anchor", a.Name); err != nil {
		return err
	}
	f.anchors[a.Name] = a
	return nil
}

func (f *Fake) Pair(p Pair) error {
	defer f.mu.Unlock()
	if err := f.begin("pair", p.Name); err != nil {
		return err
	}
	if _, ok := f.pairs[p.Name]; ok {
		return fmt.Errorf("make pair %s: %w", p.Name, ErrExists)
	}
	f.pairs[p.Name] = p
	return nil
}

func (f *Fake) Up(string) error { return nil }

func (f *Fake) Delete(name string) error {
	defer f.mu.Unlock()
	if err := f.begin("delete", name); err != nil {
		return err
	}
	delete(f.pairs, name)
	delete(f.anchors, name)
	return nil
}

func (f *Fake) Exists(name string) (bool, error) {
	names, err := f.Names(name)
	return slices.Contains(names, name), err
}

func (f *Fake) Names(prefix string) ([]string, error) {
	defer f.mu.Unlock()
	if err := f.begin("names", prefix); err != nil {
		return nil, err
	}
	var out []string
	for _, n := range slices.Concat(slices.Collect(maps.Keys(f.pairs)), slices.Collect(maps.Keys(f.anchors))) {
		if strings.HasPrefix(n, prefix) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (f *Fake) Routes() ([]netip.Prefix, error) {
	defer f.mu.Unlock()
	if err := f.begin("routes", ""); err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range f.anchors {
		out = append(out, a.Addr.Masked())
		out = append(out, a.Networks...)
	}
	for _, p := range f.pairs {
		out = append(out, netip.PrefixFrom(p.Addr, 32))
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out, nil
}

func (f *Fake) Uplink() (int, error) { return 1500, nil }

func (f *Fake) Via(tag int) ([]Via, error) {
	defer f.mu.Unlock()
	if err := f.begin("vias", ""); err != nil {
		return nil, err
	}
	var out []Via
	for to, gw := range f.via[tag] {
		out = append(out, Via{to, gw})
	}
	return out, nil
}

func (f *Fake) SetVia(tag int, v Via) error {
	defer f.mu.Unlock()
	if err := f.begin("via", v.To.String()); err != nil {
		return err
	}
	if f.via[tag] == nil {
		f.via[tag] = map[netip.Prefix]netip.Addr{}
	}
	f.via[tag][v.To] = v.Gateway
	return nil
}

func (f *Fake) DeleteVia(tag int, v Via) error {
	defer f.mu.Unlock()
	if err := f.begin("via", v.To.String()); err != nil {
		return err
	}
	delete(f.via[tag], v.To)
	return nil
}

func (f *Fake) Sysctl(name, value string) error {
	defer f.mu.Unlock()
	if err := f.begin("sysctl", name); err != nil {
		return err
	}
	f.sysctls[name] = value
	return nil
}

func (f *Fake) Forget(match func(Flow) bool) (int, error) {
	defer f.mu.Unlock()
	if err := f.begin("forget", ""); err != nil {
		return 0, err
	}
	before := len(f.Flows)
	f.Flows = slices.DeleteFunc(f.Flows, match)
	return before - len(f.Flows), nil
}

func (f *Fake) Close() error { return nil }

// Dump writes everything as lines, sorted.
func (f *Fake) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for n, a := range f.anchors {
		lines = append(lines, fmt.Sprintf("bridge %s %s networks %v from %s", n, a.Addr, a.Networks, a.From))
	}
	for n, p := range f.pairs {
		lines = append(lines, fmt.Sprintf("pair %s %s in %s mtu %d addr %s gateway %s from %s localnet %t",
			n, p.Inside, p.Namespace, p.MTU, p.Addr, p.Gateway, p.From, p.Localnet))
	}
	for tag, routes := range f.via {
		for to, gw := range routes {
			lines = append(lines, fmt.Sprintf("route %s via %s tag %d", to, gw, tag))
		}
	}
	for n, v := range f.sysctls {
		lines = append(lines, fmt.Sprintf("sysctl %s %s", n, v))
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
