package network

import (
	"errors"
	"fmt"
	"net/netip"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/nft"
)

// Lacks tries everything that the network asks of the kernel, in namespaces of its
// own, and names the modules that the kernel neither has nor can load. err tells
// why they were not to be had.
func Lacks() (modules []string, err error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	inner, err := netns.New()
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	host, err := link.Open(ns)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	var errs []error
	try := func(module string, err error) {
		if err != nil {
			modules = append(modules, module)
			errs = append(errs, fmt.Errorf("%s: %w", module, err))
		}
	}
	gateway, pod := netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("10.244.0.2")
	bridge := host.Anchor(link.Anchor{Name: "try0", Addr: netip.PrefixFrom(gateway, 24)})
	try("bridge", bridge)
	if bridge == nil { // the pair's routes want the gateway's address
		try("veth", host.Pair(link.Pair{Name: "try-1", Inside: "eth0", Namespace: inner.Path(), MTU: 1500, Addr: pod, From: gateway, Gateway: gateway}))
	}
	tables, err := nft.Open(ns)
	if err != nil {
		try("nf_tables", err)
		return modules, errors.Join(errs...)
	}
	defer tables.Close()
	for _, f := range tableNeeds {
		tx := nft.NewTx("try")
		tx.Replace()
		f.use(tx)
		try(f.module, tables.Apply(tx))
	}
	return modules, errors.Join(errs...)
}

// tableNeeds are the parts of nftables that the table uses, which are modules of
// their own in most kernels.
var tableNeeds = []struct {
	module string
	use    func(*nft.Tx)
}{
	{"nf_tables", func(tx *nft.Tx) {
		tx.AddSet(nft.Set{Name: "s", Key: keyService, Value: "verdict"})
		tx.AddChain(nft.Chain{Name: "c", Type: "filter", Hook: "forward"})
	}},
	{"nft_chain_nat", func(tx *nft.Tx) { tx.AddChain(nft.Chain{Name: "c", Type: "nat", Hook: "prerouting"}) }},
	{"nft_ct", inRule("filter", "forward", "ct state new accept")},
	{"nft_fib_ipv4", inRule("filter", "prerouting", "fib daddr type local accept")},
	{"nft_reject_ipv4", inRule("filter", "forward", "reject with icmp type port-unreachable")},
	{"nft_nat", inRule("nat", "prerouting", "dnat to 10.244.0.2:80")},
	{"nft_masq", inRule("nat", "postrouting", "masquerade")},
	{"nft_numgen", func(tx *nft.Tx) {
		tx.AddSet(nft.Set{Name: "m", Key: "mark", Value: "ipv4_addr . inet_service"})
		inRule("nat", "prerouting", "dnat to numgen random mod 2 offset 0 map @m")(tx)
	}},
}

func inRule(kind, hook, rule string) func(*nft.Tx) {
	return func(tx *nft.Tx) {
		tx.AddChain(nft.Chain{Name: "c", Type: kind, Hook: hook})
		tx.AddRule("c", rule)
	}
}
