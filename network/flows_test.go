package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns/netnstest"
)

func TestAffinity(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwa"))
	a, b, d := c.pod("a"), c.pod("b"), c.pod("d")
	netnstest.Serve(t, a.Namespace, 80, "a")
	netnstest.Serve(t, b.Namespace, 80, "b")
	c.put(
		slice("sticky", 80, a.addr, b.addr), slice("loose", 80, a.addr, b.addr),
		service("sticky", "10.96.0.5", func(s *v1.Service) { s.Spec.SessionAffinity = v1.ServiceAffinityClientIP }, ports(0)...),
		service("loose", "10.96.0.6", nil, ports(0)...),
	)
	eventually(t, "loose", func() error { _, _, err := ask(d.Namespace, "tcp", "10.96.0.6:80"); return err })
	seen := map[string]int{}
	first, _, err := ask(d.Namespace, "tcp", "10.96.0.5:80")
	must(t, err)
	for range 64 {
		must(t, wants(d.Namespace, "tcp", "10.96.0.5:80", first+" *"))
		s, _, err := ask(d.Namespace, "tcp", "10.96.0.6:80")
		must(t, err)
		seen[s]++
	}
	if len(seen) != 2 { // once in 2^63 runs by chance
		t.Errorf("without affinity all went to one: %v", seen)
	}
	// The endpoint goes: the client moves to the other and stays there.
	other := map[string]string{"a": b.addr, "b": a.addr}[first]
	c.put(slice("sticky", 80, other))
	eventually(t, "move", func() error {
		if s, _, err := ask(d.Namespace, "tcp", "10.96.0.5:80"); err != nil || s == first {
			return fmt.Errorf("%s %w", s, err)
		}
		return nil
	})
}

func TestHostPorts(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwh"))
	a := c.pod("a", HostPort{Protocol: v1.ProtocolTCP, Host: 8081, Pod: 80}, HostPort{Protocol: v1.ProtocolUDP, Host: 8081, Pod: 80},
		HostPort{Protocol: v1.ProtocolTCP, HostIP: "127.0.0.1", Host: 8082, Pod: 80})
	b := c.pod("b")
	netnstest.Serve(t, a.Namespace, 80, "a")
	for _, network := range []string{"tcp", "udp"} {
		must(t, wants(m.out, network, nodeIP+":8081", "a "+outsideIP))
		must(t, wants(m.ns, network, nodeIP+":8081", "a *"))
		must(t, wants(m.ns, network, "127.0.0.1:8081", "a *"))
		must(t, wants(b.Namespace, network, nodeIP+":8081", "a *"))
		must(t, wants(a.Namespace, network, nodeIP+":8081", "a *"))
	}
	must(t, wants(m.ns, "tcp", "127.0.0.1:8082", "a *"))
	if _, _, err := ask(m.out, "tcp", nodeIP+":8082"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a host port of 127.0.0.1 from outside: %v", err)
	}
	must(t, c.Remove(context.Background(), "a"))
	if _, _, err := ask(m.out, "tcp", nodeIP+":8081"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the host port of a removed pod: %v", err)
	}
}

// TestLoopbackGuard holds pods off the node's own loopback, which route_localnet
// would open to them.
func TestLoopbackGuard(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwg"))
	a := c.pod("a")
	var u net.PacketConn
	must(t, m.ns.Do(func() (err error) { u, err = net.ListenPacket("udp4", "127.0.0.1:9"); return err }))
	defer u.Close()
	netnstest.Serve(t, m.ns, 7001, "node")
	must(t, rawUDP(t, a.Namespace, inside, link.HostMAC, a.addr, netip.MustParseAddrPort("127.0.0.1:9"), []byte("intruder")))
	must(t, wants(a.Namespace, "udp", nodeIP+":7001", "node *")) // sent later, has arrived
	if n := queued(t, m, ":0009"); n != 0 {
		t.Errorf("%d bytes from a pod wait at the node's 127.0.0.1:9", n)
	}
}

// TestGatewayGuard: the node's address among the pods serves them and the node
// alone, whoever has a route to it.
func TestGatewayGuard(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwo"))
	a := c.pod("a")
	netnstest.Serve(t, m.ns, 7002, "node")
	must(t, wants(a.Namespace, "tcp", "10.244.0.1:7002", "node "+a.addr))
	must(t, wants(m.ns, "tcp", "10.244.0.1:7002", "node *"))
	var mac net.HardwareAddr
	var u net.PacketConn
	must(t, m.ns.Do(func() error {
		uplink, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = uplink.HardwareAddr
			u, err = net.ListenPacket("udp4", "10.244.0.1:9")
		}
		return err
	}))
	defer u.Close()
	must(t, rawUDP(t, m.out, "machine", mac, outsideIP, netip.MustParseAddrPort("10.244.0.1:9"), []byte("intruder")))
	must(t, wants(m.out, "udp", nodeIP+":7002", "node *")) // sent later, has arrived
	if n := queued(t, m, ":0009"); n != 0 {
		t.Errorf("%d bytes from outside wait at the gateway's address", n)
	}
}

func TestChangeUnderOpenConnections(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwc"))
	a, b, d := c.pod("a"), c.pod("b"), c.pod("d")
	netnstest.Serve(t, a.Namespace, 80, "a")
	netnstest.Serve(t, b.Namespace, 80, "b")
	c.put(slice("s", 80, a.addr), service("s", "10.96.0.5", nil, ports(0)...))
	eventually(t, "a", func() error { return wants(d.Namespace, "tcp", "10.96.0.5:80", "a *") })
	open, err := netnstest.Dial(d.Namespace, "tcp", "10.96.0.5:80", time.Second)
	must(t, err)
	defer open.Close()
	r := bufio.NewReader(open)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "a ") {
		t.Fatal(line, err)
	}
	udp, err := netnstest.Dial(d.Namespace, "udp", "10.96.0.5:80", time.Second)
	must(t, err)
	defer udp.Close()
	buf := make([]byte, 100)
	say := func() string {
		udp.SetReadDeadline(time.Now().Add(time.Second)) // a packet may be lost in the change
		if _, err := udp.Write([]byte("?")); err != nil {
			return err.Error()
		}
		n, err := udp.Read(buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:min(n, 1)])
	}
	if got := say(); got != "a" {
		t.Fatal(got)
	}
	c.put(slice("s", 80, b.addr))
	eventually(t, "b", func() error { return wants(d.Namespace, "tcp", "10.96.0.5:80", "b *") })
	// TCP stays with the endpoint it has; UDP of the same socket goes to the new one.
	if _, err := open.Write([]byte("still there\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "still there\n" {
		t.Error(line, err)
	}
	eventually(t, "udp", func() error {
		if got := say(); got != "b" {
			return errors.New(got)
		}
		return nil
	})
}

func TestTrafficPolicyLocal(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwl"))
	a, d := c.pod("a"), c.pod("d")
	netnstest.Serve(t, a.Namespace, 80, "a")
	elsewhere := slice("away", 80, "10.244.7.7")
	*elsewhere.Endpoints[0].NodeName = "node2"
	local := func(s *v1.Service) {
		s.Spec.Type = v1.ServiceTypeNodePort
		s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
	}
	c.put(
		slice("here", 80, a.addr), elsewhere,
		service("away", "10.96.0.5", local, ports(30001)...),
		service("here", "10.96.0.6", local, ports(30002)...),
	)
	eventually(t, "here", func() error { return wants(d.Namespace, "tcp", "10.96.0.6:80", "a *") })
	// The client's address is kept, and nothing is sent on to other nodes.
	must(t, wants(m.out, "tcp", nodeIP+":30002", "a "+outsideIP))
	must(t, wants(m.ns, "tcp", "127.0.0.1:30002", "a *"))
	if _, _, err := ask(m.out, "udp", nodeIP+":30001"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("local policy without local endpoints: %v", err)
	}
}

func TestRestart(t *testing.T) {
	m := newMachine(t)
	o := m.options("nwr")
	c := m.start(o)
	a, b := c.pod("a", HostPort{Protocol: v1.ProtocolTCP, Host: 8081, Pod: 80}), c.pod("b")
	gone := c.pod("gone")
	netnstest.Serve(t, a.Namespace, 80, "a")
	c.put(slice("s", 80, a.addr), service("s", "10.96.0.5", nil, ports(0)...))
	eventually(t, "service", func() error { return wants(b.Namespace, "tcp", "10.96.0.5:80", "a *") })
	c.stop()
	must(t, os.WriteFile(filepath.Join(o.RunDir, "pods", "torn.json"), []byte(`{"uid":`), 0o600))
	works := func() {
		t.Helper()
		must(t, wants(b.Namespace, "tcp", "10.96.0.5:80", "a *"))
		must(t, wants(a.Namespace, "tcp", "10.96.0.5:80", "a *"))
		must(t, wants(m.out, "tcp", nodeIP+":8081", "a *"))
	}
	works() // without us

	again := &cluster{m: m, api: c.api, backend: c.backend}
	again.api = newAPI(c.backend)
	o.Cache = again.api
	var err error
	again.Network, err = New(o)
	must(t, err)
	works() // before the API was read
	before := *a
	again.add(a, HostPort{Protocol: v1.ProtocolTCP, Host: 8081, Pod: 80})
	if a.addr != before.addr {
		t.Errorf("address %s became %s", before.addr, a.addr)
	}
	fresh := again.pod("fresh")
	if fresh.addr == gone.addr || fresh.addr == a.addr || fresh.addr == b.addr {
		t.Errorf("address %s was given out twice", fresh.addr)
	}
	netnstest.Serve(t, fresh.Namespace, 80, "fresh")
	must(t, wants(b.Namespace, "tcp", fresh.addr+":80", "fresh *"))
	again.run()
	again.put(slice("s", 80, fresh.addr))
	eventually(t, "new endpoint", func() error { return wants(b.Namespace, "tcp", "10.96.0.5:80", "fresh *") })
	must(t, again.Keep(context.Background(), []string{"a", "b", "fresh"}))
	if names, err := m.host.Names("nwr-"); err != nil || len(names) != 3 {
		t.Errorf("interfaces %v %v, want those of 3 pods", names, err)
	}
	must(t, wants(m.out, "tcp", nodeIP+":8081", "a *"))
}

func TestTwoInstancesAndWipe(t *testing.T) {
	m := newMachine(t)
	one := m.start(m.options("nw1"))
	o := m.options("nw10")
	o.PodCIDR, o.ClusterCIDR = netip.MustParsePrefix("10.245.0.0/24"), netip.MustParsePrefix("10.245.0.0/16")
	o.ServiceCIDR = netip.MustParsePrefix("10.97.0.0/16")
	before := m.traces(t)
	two := m.start(o)
	a, b := one.pod("a"), two.pod("a")
	netnstest.Serve(t, a.Namespace, 80, "a")
	netnstest.Serve(t, b.Namespace, 80, "b")
	nodePort := func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeNodePort }
	one.put(slice("s", 80, a.addr), service("s", "10.96.0.5", nodePort, ports(30001)...))
	two.put(slice("s", 80, b.addr), service("s", "10.97.0.5", nodePort, ports(30002)...))
	check := func(ns *pod) {
		t.Helper()
		eventually(t, "one", func() error { return wants(ns.Namespace, "tcp", "10.96.0.5:80", "a *") })
	}
	check(a)
	eventually(t, "two", func() error { return wants(b.Namespace, "tcp", "10.97.0.5:80", "b *") })
	must(t, wants(m.out, "tcp", nodeIP+":30001", "a *"))
	must(t, wants(m.out, "tcp", nodeIP+":30002", "b *"))
	two.stop()
	must(t, two.Wipe())
	if after := m.traces(t); !strings.HasPrefix(after, before) {
		t.Errorf("wiping left\n%s\nwant\n%s", after, before)
	}
	if there, err := m.nft.Exists("nw10"); there || err != nil {
		t.Error("table stays", err)
	}
	check(a)
	must(t, wants(m.out, "tcp", nodeIP+":30001", "a *"))
	one.stop()
	must(t, one.Wipe())
	must(t, one.Wipe()) // nothing left is no error
	if names, err := m.host.Names("nw1"); len(names) > 0 || err != nil {
		t.Error(names, err)
	}
}

// traces is what of an instance can be seen on the machine.
func (m *machine) traces(t *testing.T) string {
	t.Helper()
	names, err := m.host.Names("nw10")
	must(t, err)
	routes, err := m.host.Routes()
	must(t, err)
	var own []string
	for _, r := range routes {
		if strings.HasPrefix(r.String(), "10.245.") || strings.HasPrefix(r.String(), "10.97.") {
			own = append(own, r.String())
		}
	}
	return fmt.Sprint(names, own)
}

func TestTableTakenAway(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwx"))
	a, b := c.pod("a"), c.pod("b")
	netnstest.Serve(t, a.Namespace, 80, "a")
	c.put(slice("s", 80, a.addr), service("s", "10.96.0.5", nil, ports(0)...))
	eventually(t, "service", func() error { return wants(b.Namespace, "tcp", "10.96.0.5:80", "a *") })
	for _, again := range []func() error{
		c.proxy.check, // as guard does
		func() error { c.put(service("other", "10.96.0.6", nil, ports(0)...)); return nil },
		func() error { c.pod("p"); return nil },
	} {
		must(t, dropTable(m.nft, "nwx"))
		must(t, again())
		eventually(t, "service again", func() error { return wants(b.Namespace, "tcp", "10.96.0.5:80", "a *") })
	}
}

// TestExternalAddresses: who comes by a service's external address is hidden from its
// servers, as by kube-proxy, unless externalTrafficPolicy is Local.
func TestExternalAddresses(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("nwe"))
	a, d := c.pod("a"), c.pod("d")
	netnstest.Serve(t, a.Namespace, 80, "a")
	external := func(ip string, policy v1.ServiceExternalTrafficPolicy) func(*v1.Service) {
		return func(s *v1.Service) { s.Spec.ExternalIPs, s.Spec.ExternalTrafficPolicy = []string{ip}, policy }
	}
	c.put(slice("hides", 80, a.addr), service("hides", "10.96.0.5", external("203.0.113.5", v1.ServiceExternalTrafficPolicyCluster), ports(0)...))
	c.put(slice("shows", 80, a.addr), service("shows", "10.96.0.6", external("203.0.113.6", v1.ServiceExternalTrafficPolicyLocal), ports(0)...))
	eventually(t, "service", func() error { return wants(d.Namespace, "tcp", "203.0.113.6:80", "a "+d.addr) })
	for _, network := range []string{"tcp", "udp"} {
		must(t, wants(d.Namespace, network, "10.96.0.5:80", "a "+d.addr))
		must(t, wants(d.Namespace, network, "203.0.113.6:80", "a "+d.addr))
		if server, client, err := ask(d.Namespace, network, "203.0.113.5:80"); server != "a" || client == d.addr {
			t.Errorf("%s: server %q sees %q: %v", network, server, client, err)
		}
		must(t, wants(m.ns, network, "203.0.113.5:80", "a *"))
	}
}

// TestListing: nft lists what is in the kernel. Version 1.0.6, Debian 12's, aborts at
// rules that it cannot put into words.
func TestListing(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		nft = "/usr/sbin/nft"
	}
	if _, err := os.Stat(nft); err != nil {
		t.Skip("needs nft")
	}
	m := newMachine(t)
	c := m.start(m.options("nwl"))
	a := c.pod("a", HostPort{Protocol: v1.ProtocolTCP, Host: 8081, Pod: 80})
	netnstest.Serve(t, a.Namespace, 80, "a")
	c.put(slice("s", 80, a.addr), service("s", "10.96.0.5", func(s *v1.Service) {
		s.Spec.Type, s.Spec.ExternalIPs, s.Spec.SessionAffinity = v1.ServiceTypeNodePort, []string{"203.0.113.5"}, v1.ServiceAffinityClientIP
	}, ports(30005)...))
	eventually(t, "service", func() error { return wants(m.ns, "tcp", "10.96.0.5:80", "a *") })
	var out []byte
	err = m.ns.Do(func() (err error) {
		out, err = exec.Command(nft, "list", "ruleset").CombinedOutput()
		return err
	})
	if err != nil || !strings.Contains(string(out), "203.0.113.5 . tcp . 80") {
		t.Errorf("%v\n%s", err, out)
	}
}
