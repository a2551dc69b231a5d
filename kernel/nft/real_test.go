package nft

import (
	"errors"
	"os"
	"testing"
	"time"

	"skiff.dev/skiff/kernel/netns"
)

// everything uses each form of the language once.
func everything(table string) *Tx {
	tx := NewTx(table)
	tx.Replace()
	vm := Set{Name: "services", Key: "ipv4_addr . inet_proto . inet_service", Value: "verdict"}
	dm := Set{Name: "hostports", Key: "inet_proto . inet_service", Value: "ipv4_addr . inet_service"}
	pairs := Set{Name: "hairpin", Key: "ipv4_addr . ipv4_addr"}
	aff := Set{Name: "affinity/x", Key: "ipv4_addr", Dynamic: true, Timeout: time.Minute}
	none := Set{Name: "no-endpoints", Key: vm.Key, Value: "verdict"}
	masq := Set{Name: "masq", Key: vm.Key}
	eps := Set{Name: "endpoints", Key: "mark", Value: "ipv4_addr . inet_service"}
	for _, s := range []Set{vm, dm, pairs, aff, none, masq, eps} {
		tx.AddSet(s)
	}
	tx.AddChain(Chain{Name: "svc/default/web/tcp/80"})
	tx.AddChain(Chain{Name: "ep"})
	for _, c := range []Chain{
		{"raw", "filter", "prerouting", -300}, {"reject", "filter", "prerouting", -110}, {"pre", "nat", "prerouting", -100},
		{"out", "nat", "output", -100}, {"post", "nat", "postrouting", 100}, {"fwd", "filter", "forward", 0},
	} {
		tx.AddChain(c)
	}
	tx.AddElements(vm, Element{Key: "10.96.0.1 . tcp . 443", Value: "goto svc/default/web/tcp/80"}, Element{Key: "10.96.0.2 . sctp . 4", Value: "drop"})
	tx.AddElements(dm, Element{Key: "udp . 53", Value: "10.1.2.3 . 5353"})
	tx.AddElements(pairs, Element{Key: "10.1.2.3 . 10.1.2.3"})
	tx.AddRule("raw", `iifname "sk-*" ip daddr 127.0.0.0/8 drop`)
	tx.AddRule("raw", `iifname != "lo" accept`)
	tx.AddRule("reject", `ct state new ip daddr . meta l4proto . th dport vmap @no-endpoints`)
	tx.AddRule("reject", `ip daddr != 10.0.0.1 reject`)
	tx.AddRule("fwd", `oifname "sk0" reject with icmp type host-unreachable`)
	tx.AddRule("fwd", `meta l4proto tcp th dport 80 return`)
	tx.AddRule("pre", `ip daddr . meta l4proto . th dport vmap @services`)
	tx.AddRule("pre", `fib daddr type local dnat to meta l4proto . th dport map @hostports`)
	tx.AddRule("svc/default/web/tcp/80", `ip saddr @affinity/x goto ep`)
	tx.AddRule("svc/default/web/tcp/80", `numgen random mod 2 vmap { 0 : goto ep, 1 : goto ep }`)
	tx.AddRule("svc/default/web/tcp/80", `dnat to numgen random mod 2 map { 0 : 10.1.2.3 . 80, 1 : 10.1.2.4 . 80 }`)
	tx.AddElements(eps, Element{Key: "300", Value: "10.1.2.3 . 80"})
	tx.AddRule("svc/default/web/tcp/80", `dnat to numgen random mod 2 offset 300 map @endpoints`)
	tx.AddRule("ep", `update @affinity/x { ip saddr }`)
	tx.AddRule("ep", `dnat to 10.1.2.3:80`)
	tx.AddRule("out", `fib saddr type local jump svc/default/web/tcp/80`)
	tx.AddRule("post", `ip saddr . ip daddr @hairpin masquerade`)
	tx.AddRule("post", `ct status dnat ct original ip daddr . meta l4proto . ct original proto-dst @masq masquerade`)
	tx.AddRule("post", `ip saddr 10.1.0.0/16 ip daddr != 10.1.0.0/16 oifname != "sk-*" masquerade`)
	return tx
}

// everything6 uses the forms that concern IPv6 and interfaces.
func everything6(table string) *Tx {
	tx := NewTx6(table)
	tx.Replace()
	admitted := Set{Name: "admitted", Key: "iface_index . ipv6_addr . ipv6_addr . inet_proto . mark", Dynamic: true, Timeout: 5 * time.Second}
	turns := Set{Name: "turns", Key: "iface_index", Value: "iface_index"}
	same := Set{Name: "same", Key: "ifname . ifname"}
	ports := Set{Name: "ports", Key: "inet_proto . inet_service", Value: "ipv6_addr . inet_service"}
	at := Set{Name: "at", Key: "ipv6_addr . inet_proto . inet_service", Value: ports.Value}
	for _, s := range []Set{admitted, turns, same, ports, at} {
		tx.AddSet(s)
	}
	tx.AddElements(turns, Element{Key: "1", Value: "1"})
	tx.AddElements(same, Element{Key: "lo . lo"})
	tx.AddElements(ports, Element{Key: "tcp . 80", Value: "fd00::2 . 80"})
	tx.AddElements(at, Element{Key: "fd00::9 . tcp . 80", Value: "fd00::2 . 80"})
	tx.AddChain(Chain{"in", "filter", "input", 2000000000})
	tx.AddChain(Chain{"pre", "nat", "prerouting", -100})
	tx.AddChain(Chain{"fwd", "filter", "forward", 0})
	tx.AddRule("in", "update @admitted { iif . ip6 saddr . ip6 daddr . meta l4proto . th ports } dup to fe80::1 device iif map @turns drop")
	tx.AddRule("pre", "iif . ip6 saddr . ip6 daddr . meta l4proto . th ports @admitted fib daddr type local dnat to meta l4proto . th dport map @ports")
	tx.AddRule("pre", "dnat to ip6 daddr . meta l4proto . th dport map @at")
	tx.AddRule("pre", "dnat to [fd00::3]:80")
	tx.AddRule("fwd", "iifname . oifname != @same ip6 daddr fd00::/64 reject")
	return tx
}

func open(t *testing.T) Conn {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	c, err := Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// both runs a test against the kernel and against the fake.
func both(t *testing.T, test func(t *testing.T, c Conn)) {
	t.Run("kernel", func(t *testing.T) { test(t, open(t)) })
	t.Run("fake", func(t *testing.T) { test(t, &Fake{}) })
}

func TestEverything(t *testing.T) {
	both(t, func(t *testing.T, c Conn) {
		for range 2 {
			for _, tx := range []*Tx{everything("skiff"), everything6("skiff")} {
				if err := c.Apply(tx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if ok, err := c.Exists("skiff"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		es, err := c.Elements("skiff", Set{Name: "hostports", Key: "inet_proto . inet_service", Value: "ipv4_addr . inet_service"})
		if err != nil || len(es) != 1 || es[0] != (Element{Key: "udp . 53", Value: "10.1.2.3 . 5353"}) {
			t.Fatal(es, err)
		}
		tx := NewTx("skiff")
		tx.Drop()
		if err := c.Apply(tx); err != nil {
			t.Fatal(err)
		}
		if ok, err := c.Exists("skiff"); ok || err != nil {
			t.Fatal(ok, err)
		}
	})
}

func TestAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, c Conn) {
		s := Set{Name: "s", Key: "inet_service", Value: "verdict"}
		tx := NewTx("skiff")
		tx.Replace()
		tx.AddSet(s)
		tx.AddChain(Chain{Name: "a"})
		tx.AddElements(s, Element{Key: "1", Value: "drop"})
		if err := c.Apply(tx); err != nil {
			t.Fatal(err)
		}
		bad := NewTx("skiff")
		bad.AddElements(s, Element{Key: "2", Value: "drop"})
		bad.DeleteElements(s, Element{Key: "3"})
		if err := c.Apply(bad); !errors.Is(err, ErrNotFound) {
			t.Fatalf("deleting what is not there: %v", err)
		}
		// A change of value is a deletion and an addition.
		change := NewTx("skiff")
		change.DeleteElements(s, Element{Key: "1", Value: "drop"})
		change.AddElements(s, Element{Key: "1", Value: "goto a"})
		if err := c.Apply(change); err != nil {
			t.Fatal(err)
		}
		if es, err := c.Elements("skiff", s); err != nil || len(es) != 1 || es[0].Key != "1" {
			t.Fatal(es, err)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, o := range everything("x").ops {
		if o.verb == addRule {
			f.Add(o.rule)
		}
	}
	for _, o := range everything6("x").ops {
		if o.verb == addRule {
			f.Add(o.rule)
		}
	}
	f.Fuzz(func(t *testing.T, rule string) {
		compile(rule, false)
		compile(rule, true)
	})
}
