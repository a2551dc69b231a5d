package bridge

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
)

// Names of the sets of a table.
const (
	setNetworks  = "networks"  // interfaces of networks
	setSame      = "same"      // pairs of one and the same network's interface
	setInternal  = "internal"  // networks without a way to the outside
	setClosed    = "closed"    // networks whose containers do not reach each other
	setHidden    = "hidden"    // networks whose containers leave with the machine's address
	setPublished = "published" // host ports on every address of the machine
	setAt        = "published-at"
	setOpen      = "open" // the keys of the two, for rules that ask no more
	setOpenAt    = "open-at"
	setTurns     = "turns"    // interfaces by which clients come, and back to them
	setAdmitted  = "admitted" // clients that the host's input rules have let in
)

// admission is how long a first packet has from input to its second arrival.
const admission = 5 * time.Second

// inputEnd is behind what filters in the input hook, and before the kernel's own.
const inputEnd = 2_000_000_000

// rules is what the instance's two tables hold, the ip and the ip6 one, as data. It
// has no lock and touches no kernel.
type rules struct {
	table string
	// direct publishes without asking the host's input rules.
	direct   bool
	networks map[string]netRule
	forwards map[string][]forward // by container
	turns    map[int]int          // an interface's index to that of its turn
}

// netRule is one network's part.
type netRule struct {
	bridge                   string
	internal, closed, hidden bool
}

func newRules(table string, direct bool) *rules {
	return &rules{table: table, direct: direct, networks: map[string]netRule{}, forwards: map[string][]forward{}, turns: map[int]int{}}
}

type element struct{ set, key string }

// elements is what the sets of a family hold.
func (r *rules) elements(v6 bool) map[element]string {
	out := map[element]string{}
	for _, n := range r.networks {
		out[element{setNetworks, n.bridge}] = ""
		out[element{setSame, n.bridge + " . " + n.bridge}] = ""
		for set, in := range map[string]bool{setInternal: n.internal, setClosed: n.closed, setHidden: n.hidden} {
			if in {
				out[element{set, n.bridge}] = ""
			}
		}
	}
	for i, t := range r.turns {
		out[element{setTurns, fmt.Sprint(i)}] = fmt.Sprint(t)
	}
	for _, fs := range r.forwards {
		for _, f := range fs {
			if f.HostIP.Is6() != v6 || f.To.Addr().Is6() != v6 {
				continue // of one family to the other: carried by this process
			}
			key, set, open := fmt.Sprintf("%s . %d", f.Protocol, f.HostPort), setPublished, setOpen
			if !f.HostIP.IsUnspecified() {
				key, set, open = fmt.Sprintf("%s . %s", f.HostIP, key), setAt, setOpenAt
			}
			out[element{set, key}] = fmt.Sprintf("%s . %d", f.To.Addr(), f.To.Port())
			out[element{open, key}] = ""
		}
	}
	return out
}

// sets of a table of the family.
func sets(v6 bool) map[string]nft.Set {
	addr := "ipv4_addr"
	if v6 {
		addr = "ipv6_addr"
	}
	port, to := "inet_proto . inet_service", addr+" . inet_service"
	out := map[string]nft.Set{}
	for _, s := range []nft.Set{
		{Name: setNetworks, Key: "ifname"},
		{Name: setSame, Key: "ifname . ifname"},
		{Name: setInternal, Key: "ifname"},
		{Name: setClosed, Key: "ifname"},
		{Name: setHidden, Key: "ifname"},
		{Name: setPublished, Key: port, Value: to},
		{Name: setAt, Key: addr + " . " + port, Value: to},
		{Name: setOpen, Key: port},
		{Name: setOpenAt, Key: addr + " . " + port},
		{Name: setTurns, Key: "iface_index", Value: "iface_index"},
		{Name: setAdmitted, Key: "iface_index . " + addr + " . " + addr + " . inet_proto . mark", Dynamic: true, Timeout: admission},
	} {
		out[s.Name] = s
	}
	return out
}

type baseChain struct {
	nft.Chain
	rules []string
}

// chains are the fixed part of a table; the package's comment tells what happens in
// them. Nothing is marked, so that no bit of the packet mark is shared with others.
// They accept what they do not know: a packet that another table drops is dropped
// whatever this one says.
func (r *rules) chains(v6 bool) []baseChain {
	ip, loopback, turn := "ip", "127.0.0.0/8", link.TurnAddr4
	if v6 {
		ip, loopback, turn = "ip6", "::1/128", link.TurnAddr6
	}
	client := fmt.Sprintf("iif . %s saddr . %s daddr . meta l4proto . th ports", ip, ip)
	in := "jump publish"
	if !r.direct {
		in = client + " @admitted jump publish"
	}
	local := "fib daddr type local jump publish"
	if v6 {
		local = "ip6 daddr != ::1/128 " + local // which no route leads away from: a relay's
	}
	out := []baseChain{
		// Who has a container must not reach what listens on the machine's loopback alone,
		// which route_localnet opens.
		{nft.Chain{Name: "guard", Type: "filter", Hook: "prerouting", Priority: -300}, []string{
			fmt.Sprintf("iifname @networks %s daddr %s drop", ip, loopback),
		}},
		{nft.Chain{Name: "publish"}, []string{
			fmt.Sprintf("dnat to %s daddr . meta l4proto . th dport map @published-at", ip),
			"fib daddr type local dnat to meta l4proto . th dport map @published",
		}},
		{nft.Chain{Name: "publish-in", Type: "nat", Hook: "prerouting", Priority: -100}, []string{in}},
		{nft.Chain{Name: "publish-out", Type: "nat", Hook: "output", Priority: -100}, []string{local}},
		{nft.Chain{Name: "within"}, []string{
			"ct status dnat accept",
			"iifname @closed drop",
			"accept",
		}},
		{nft.Chain{Name: "isolate", Type: "filter", Hook: "forward", Priority: 0}, []string{
			"iifname . oifname @same goto within",
			"iifname @internal drop",
			"oifname @internal drop",
			"ct status dnat accept",
			"iifname @networks oifname @networks drop",
			"oifname @networks ct state new drop",
		}},
		{nft.Chain{Name: "hide", Type: "nat", Hook: "postrouting", Priority: 100}, []string{
			`oifname "lo" return`,
			"ct status dnat iifname . oifname @same masquerade",
			fmt.Sprintf("ct status dnat %s saddr %s masquerade", ip, loopback),
			"iifname @hidden iifname . oifname != @same masquerade",
		}},
	}
	if !r.direct {
		out = append(out,
			baseChain{nft.Chain{Name: "turn"}, []string{
				fmt.Sprintf("update @admitted { %s } dup to %s device iif map @turns drop", client, turn),
			}},
			baseChain{nft.Chain{Name: "input-end", Type: "filter", Hook: "input", Priority: inputEnd}, []string{
				fmt.Sprintf("ct state new %s daddr . meta l4proto . th dport @open-at jump turn", ip),
				"ct state new fib daddr type local meta l4proto . th dport @open jump turn",
			}})
	}
	return out
}

func (r *rules) tx(v6 bool) *nft.Tx {
	if v6 {
		return nft.NewTx6(r.table)
	}
	return nft.NewTx(r.table)
}

// full writes the whole table of a family.
func (r *rules) full(v6 bool) *nft.Tx {
	tx := r.tx(v6)
	tx.Replace()
	all := sets(v6)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		tx.AddSet(all[name])
	}
	chains := r.chains(v6)
	for _, c := range chains {
		tx.AddChain(c.Chain)
	}
	for _, c := range chains {
		for _, rule := range c.rules {
			tx.AddRule(c.Name, rule)
		}
	}
	change(tx, v6, nil, r.elements(v6))
	return tx
}

// change adds to tx what makes the elements have into want.
func change(tx *nft.Tx, v6 bool, have, want map[element]string) {
	all := sets(v6)
	byName := func(a, b element) int {
		return strings.Compare(a.set+" "+a.key, b.set+" "+b.key)
	}
	for _, e := range slices.SortedFunc(maps.Keys(have), byName) {
		if v, ok := want[e]; !ok || v != have[e] {
			tx.DeleteElements(all[e.set], nft.Element{Key: e.key, Value: have[e]})
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(want), byName) {
		if v, ok := have[e]; !ok || v != want[e] {
			tx.AddElements(all[e.set], nft.Element{Key: e.key, Value: want[e]})
		}
	}
}

// udp lists what the host's UDP ports of a container led to: tracked connections that
// must end when that changes.
func udp(fs []forward) map[netip.AddrPort]netip.AddrPort {
	out := map[netip.AddrPort]netip.AddrPort{}
	for _, f := range fs {
		if f.Protocol == UDP {
			out[netip.AddrPortFrom(f.HostIP, f.HostPort)] = f.To
		}
	}
	return out
}
