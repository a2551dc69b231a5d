package network

import (
	"errors"
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kernel/netns/netnstest"
)

func TestPodsAndServices(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwt"))
	a, b := c.pod("a"), c.pod("b")
	netnstest.Serve(t, a.Namespace, 8080, "a")
	netnstest.Serve(t, b.Namespace, 8080, "b")
	netnstest.Serve(t, m.out, 7000, "out")
	netnstest.Serve(t, m.ns, 7001, "node")

	t.Run("direct", func(t *testing.T) {
		for _, network := range []string{"tcp", "udp"} {
			must(t, wants(a.Namespace, network, b.addr+":8080", "b "+a.addr))
			must(t, wants(b.Namespace, network, a.addr+":8080", "a "+b.addr))
			must(t, wants(m.ns, network, a.addr+":8080", "a "+nodeIP))
			must(t, wants(a.Namespace, network, nodeIP+":7001", "node "+a.addr))
			must(t, wants(a.Namespace, network, outsideIP+":7000", "out "+nodeIP))
		}
	})
	c.put(
		service("web", "10.96.0.20", func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeNodePort }, ports(30080)...), slice("web", 8080, a.addr),
		service("none", "10.96.0.21", func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeNodePort }, ports(30081)...),
		service("node", "10.96.0.1", nil, ports(0)...), slice("node", 7001, nodeIP),
	)
	eventually(t, "services", func() error { return wants(b.Namespace, "tcp", "10.96.0.1:80", "node "+b.addr) })
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			must(t, wants(b.Namespace, network, "10.96.0.20:80", "a "+b.addr))
			must(t, wants(m.ns, network, "10.96.0.20:80", "a *"))
			must(t, wants(a.Namespace, network, "10.96.0.20:80", "a *")) // itself
			must(t, wants(m.ns, network, "127.0.0.1:30080", "a *"))
			must(t, wants(m.ns, network, nodeIP+":30080", "a *"))
			must(t, wants(a.Namespace, network, nodeIP+":30080", "a *"))
			must(t, wants(b.Namespace, network, nodeIP+":30080", "a *"))
			must(t, wants(m.out, network, nodeIP+":30080", "a 10.244.0.1"))
			for _, to := range []string{"10.96.0.21:80", nodeIP + ":30081"} {
				if _, _, err := ask(a.Namespace, network, to); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("%s without endpoints: %v", to, err)
				}
			}
		})
	}
}
