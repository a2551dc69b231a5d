package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/nft"
)

func benchNetwork(b *testing.B) (*Network, *netns.Namespace) {
	if os.Getuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	ns := newNamespace(b)
	h, err := link.Open(ns)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	c, err := nft.Open(ns)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	n, err := New(Options{
		Instance: "nwb", NodeName: "node1", PodCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		RunDir: b.TempDir(), Host: h, NFT: c,
	})
	if err != nil {
		b.Fatal(err)
	}
	return n, ns
}

// BenchmarkAdd connects a pod; taking it away is not counted.
func BenchmarkAdd(b *testing.B) {
	n, _ := benchNetwork(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		ns := newNamespace(b)
		b.StartTimer()
		if _, err := n.Add(context.Background(), PodRequest{UID: fmt.Sprint(i), NetNS: ns.Path()}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEndpointReplaced puts one endpoint in place of another, as a rolling
// update does; BenchmarkEndpointCount takes one away and brings it back. Both do so
// in one service out of many, each with 10.
func BenchmarkEndpointReplaced(b *testing.B) {
	benchmarkChange(b, func(eps []string) []string { return append([]string{"10.244.99.99"}, eps[1:]...) })
}

func BenchmarkEndpointCount(b *testing.B) {
	benchmarkChange(b, func(eps []string) []string { return eps[1:] })
}

func benchmarkChange(b *testing.B, change func([]string) []string) {
	for _, services := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			n, _ := benchNetwork(b)
			p := n.proxy
			p.served = true
			eps := func(i int) []string {
				var out []string
				for j := range 10 {
					out = append(out, fmt.Sprintf("10.244.%d.%d", i%250, j+2))
				}
				return out
			}
			for i := range services {
				name := fmt.Sprintf("s%d", i)
				p.setService(nsName("default", name), service(name, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), nil, v1.ServicePort{Name: "tcp", Port: 80}))
				p.setSlice(nsName("default", name), name, slice(name, 80, eps(i)...))
			}
			if err := p.sync(); err != nil {
				b.Fatal(err)
			}
			both := [2]*discoveryv1.EndpointSlice{slice("s5", 80, eps(5)...), slice("s5", 80, change(eps(5))...)}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				p.setSlice(nsName("default", "s5"), "s5", both[(i+1)%2])
				if err := p.sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWhole writes the whole table of 10,000 services with 10 endpoints each.
func BenchmarkWhole(b *testing.B) {
	n, _ := benchNetwork(b)
	p := n.proxy
	p.served = true
	for i := range 10000 {
		name := fmt.Sprintf("s%d", i)
		var eps []string
		for j := range 10 {
			eps = append(eps, fmt.Sprintf("10.244.%d.%d", i%250, j+2))
		}
		p.setService(nsName("default", name), service(name, fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), nil, v1.ServicePort{Name: "tcp", Port: 80}))
		p.setSlice(nsName("default", name), name, slice(name, 80, eps...))
	}
	for b.Loop() {
		p.known = false
		if err := p.sync(); err != nil {
			b.Fatal(err)
		}
	}
}
