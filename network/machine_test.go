package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/netns/netnstest"
	"skiff.dev/skiff/kernel/nft"
)

// patience bounds what must happen soon: only a failing test waits so long.
const patience = 10 * time.Second

// machine is a computer of its own: a network namespace with an uplink to a second
// one, the outside, whose address is 192.168.77.2. The machine's is 192.168.77.1.
type machine struct {
	t       *testing.T
	ns, out *netns.Namespace
	host    link.Host
	nft     nft.Conn
	dir     string
}

const nodeIP, outsideIP = "192.168.77.1", "192.168.77.2"

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	m := &machine{t: t, ns: newNamespace(t), out: newNamespace(t), dir: t.TempDir()}
	var err error
	if m.host, err = link.Open(m.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.host.Close() })
	if m.nft, err = nft.Open(m.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.nft.Close() })
	// The uplink is a pair as pods have it, seen from the outside: its inside end is
	// the machine's, with the outside as gateway.
	outHost, err := link.Open(m.out)
	if err != nil {
		t.Fatal(err)
	}
	defer outHost.Close()
	up := link.Pair{
		Name: "machine", Inside: "eth0", Namespace: m.ns.Path(), MTU: 1500, Addr: netip.MustParseAddr(nodeIP),
		From: netip.MustParseAddr(outsideIP), Gateway: netip.MustParseAddr(outsideIP),
	}
	if err := outHost.Anchor(link.Anchor{Name: "o0", Addr: netip.MustParsePrefix(outsideIP + "/32")}); err != nil {
		t.Fatal(err)
	}
	if err := outHost.Pair(up); err != nil {
		t.Fatal(err)
	}
	return m
}

func newNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	h, err := link.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Up("lo"); err != nil {
		t.Fatal(err)
	}
	return ns
}

func (m *machine) options(instance string) Options {
	return Options{
		Instance: instance, NodeName: "node1", NodeIP: netip.MustParseAddr(nodeIP), PodCIDR: netip.MustParsePrefix("10.244.0.0/24"),
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
		RunDir: filepath.Join(m.dir, instance), Host: m.host, NFT: m.nft,
	}
}

// cluster is a Network that follows an API in memory.
type cluster struct {
	*Network
	m   *machine
	api *client.InProcess

	backend *clienttest.Backend
	stop    func()
}

func (m *machine) start(o Options) *cluster {
	m.t.Helper()
	c := &cluster{m: m, backend: clienttest.NewBackend(clienttest.Table())}
	c.api = client.NewInProcess(c.backend, clienttest.Scheme())
	o.Cache = c.api
	var err error
	if c.Network, err = New(o); err != nil {
		m.t.Fatal(err)
	}
	c.run()
	return c
}

// run begins to follow the API; stop, or the test's end, ends it.
func (c *cluster) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- c.api.Start(ctx) }()
	go func() { done <- c.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				c.m.t.Error(err)
			}
		}
	})
	c.m.t.Cleanup(c.stop)
}

// put creates or updates objects.
func (c *cluster) put(objs ...crclient.Object) {
	c.m.t.Helper()
	for _, o := range objs {
		err := c.api.Create(context.Background(), o.DeepCopyObject().(crclient.Object))
		if apierrors.IsAlreadyExists(err) {
			now := o.DeepCopyObject().(crclient.Object)
			if err = c.api.Get(context.Background(), crclient.ObjectKeyFromObject(o), now); err == nil {
				o = o.DeepCopyObject().(crclient.Object)
				o.SetResourceVersion(now.GetResourceVersion())
				err = c.api.Update(context.Background(), o)
			}
		}
		if err != nil {
			c.m.t.Fatal(err)
		}
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// TestDialPod reaches what listens on a pod's loopback alone, as port-forward must.
func TestDialPod(t *testing.T) {
	m := newMachine(t)
	c := m.start(m.options("dialpod"))
	p := c.pod("a")
	var l net.Listener
	must(t, p.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }))
	t.Cleanup(func() { l.Close() })
	conn, err := c.DialPod(context.Background(), "a", p.Path(), "tcp", fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port))
	must(t, err)
	defer conn.Close()
	if got := netnstest.Host(conn.LocalAddr()); got != "127.0.0.1" {
		t.Errorf("comes from %s", got)
	}
}

// pod is a namespace with an address.
type pod struct {
	*netns.Namespace
	t    *testing.T
	uid  string
	addr string
}

func (c *cluster) pod(uid string, ports ...HostPort) *pod {
	c.m.t.Helper()
	p := &pod{Namespace: newNamespace(c.m.t), t: c.m.t, uid: uid}
	c.add(p, ports...)
	return p
}

func (c *cluster) add(p *pod, ports ...HostPort) {
	c.m.t.Helper()
	st, err := c.Add(context.Background(), PodRequest{UID: p.uid, Namespace: "default", Name: p.uid, NetNS: p.Path(), HostPorts: ports})
	if err != nil {
		c.m.t.Fatal(err)
	}
	p.addr = st.IPs[0]
}

func ask(ns *netns.Namespace, network, to string) (server, client string, err error) {
	return netnstest.Ask(ns, network, to, time.Second)
}

// wants checks one question; want is "server client", where "*" is any client.
func wants(ns *netns.Namespace, network, to, want string) error {
	s, c, err := ask(ns, network, to)
	if err != nil {
		return err
	}
	if got := s + " " + c; got != want && s+" *" != want {
		return fmt.Errorf("%s %s: got %q, want %q", network, to, got, want)
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func service(name, ip string, change func(*v1.Service), ports ...v1.ServicePort) *v1.Service {
	s := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       v1.ServiceSpec{Type: v1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: ports},
	}
	if change != nil {
		change(s)
	}
	return s
}

// slice lists ready endpoints of this node, one port of each protocol.
func slice(svc string, port int32, addrs ...string) *discoveryv1.EndpointSlice {
	tcp, udp, node, yes := v1.ProtocolTCP, v1.ProtocolUDP, "node1", true
	nameT, nameU := "tcp", "udp"
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: svc + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &nameT, Protocol: &tcp, Port: &port}, {Name: &nameU, Protocol: &udp, Port: &port}},
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	return s
}

func ports(nodePort int32) []v1.ServicePort {
	return []v1.ServicePort{
		{Name: "tcp", Protocol: v1.ProtocolTCP, Port: 80, NodePort: nodePort},
		{Name: "udp", Protocol: v1.ProtocolUDP, Port: 80, NodePort: nodePort},
	}
}

func newAPI(b *clienttest.Backend) *client.InProcess {
	return client.NewInProcess(b, clienttest.Scheme())
}

func dropTable(c nft.Conn, table string) error {
	tx := nft.NewTx(table)
	tx.Drop()
	return c.Apply(tx)
}

// rawUDP sends a UDP packet out of an interface of ns to the machine whose hardware
// address is mac, as a hostile neighbour may whatever the routes say.
func rawUDP(t *testing.T, ns *netns.Namespace, device string, mac net.HardwareAddr, from string, to netip.AddrPort, payload []byte) error {
	t.Helper()
	return ns.Do(func() error {
		iface, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		src, dst := netip.MustParseAddr(from).As4(), to.Addr().As4()
		udp := binary.BigEndian.AppendUint16(nil, 1234)
		udp = binary.BigEndian.AppendUint16(udp, to.Port())
		udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
		udp = append(udp, 0, 0) // no checksum
		udp = append(udp, payload...)
		ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3]}
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(ip[i])<<8 | uint32(ip[i+1])
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
		at := unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: iface.Index, Halen: 6}
		copy(at.Addr[:], mac)
		return unix.Sendto(fd, append(ip, udp...), 0, &at)
	})
}

// queued counts the bytes that wait at the machine's UDP socket of a port, as
// /proc/net/udp writes it.
func queued(t *testing.T, m *machine, port string) int {
	t.Helper()
	n := -1
	must(t, m.ns.Do(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/udp")
		for _, line := range strings.Split(string(raw), "\n") {
			if f := strings.Fields(line); len(f) > 4 && strings.HasSuffix(f[1], port) {
				_, rx, _ := strings.Cut(f[4], ":")
				v, err := strconv.ParseInt(rx, 16, 64)
				if err != nil {
					return err
				}
				n = int(v)
			}
		}
		return err
	}))
	return n
}

func nsName(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}
