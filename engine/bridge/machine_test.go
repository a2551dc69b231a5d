package bridge

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/netns/netnstest"
	"skiff.dev/skiff/kernel/nft"
)

// patience bounds what must happen soon: only a failing test waits so long.
const patience = 10 * time.Second

// box is a computer of its own with an uplink eth0, 192.168.77.1 and fd77::1, to a
// second one, the outside, at .2.
type box struct {
	*Manager
	t       *testing.T
	ns, out *netns.Namespace
	o       Options
}

const boxIP, outsideIP = "192.168.77.1", "192.168.77.2"

func newNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
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

func newBox(t *testing.T, change func(*Options)) *box {
	t.Helper()
	b := &box{t: t, ns: newNamespace(t), out: newNamespace(t), o: Options{Instance: "box", Dir: filepath.Join(t.TempDir(), "networks"), Bridge: "docker0"}}
	if change != nil {
		change(&b.o)
	}
	out, err := link.OpenBridges(b.out)
	must(t, err)
	defer out.Close()
	must(t, out.Bridge(link.Bridge{Name: "world", MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix(outsideIP + "/24"), netip.MustParsePrefix("fd77::2/64")}}))
	must(t, out.Plug(link.Plug{
		Name: "box", Bridge: "world", Inside: "eth0", Namespace: b.ns.Path(), MTU: 1500, MAC: net.HardwareAddr{2, 0, 0, 0, 7, 7},
		Addrs: []netip.Prefix{netip.MustParsePrefix(boxIP + "/24"), netip.MustParsePrefix("fd77::1/64")},
	}))
	must(t, out.Default(b.ns.Path(), netip.MustParseAddr(outsideIP), netip.MustParseAddr("fd77::2")))
	b.start()
	return b
}

// start makes a Manager on what is there.
func (b *box) start(running ...Running) {
	b.t.Helper()
	m, err := newIn(b.ns, b.o)
	must(b.t, err)
	b.Manager = m
	b.t.Cleanup(func() { m.Close() })
	must(b.t, m.Restore(b.t.Context(), running))
}

// container is a namespace that answers with its name.
type container struct {
	*netns.Namespace
	Endpoint
}

func (b *box) container(n int, name string, change func(*Endpoint)) *container {
	b.t.Helper()
	c := &container{newNamespace(b.t), Endpoint{Container: id(n), Name: name, Hostname: id(n)[:12]}}
	c.NetNS = c.Path()
	if change != nil {
		change(&c.Endpoint)
	}
	netnstest.Serve(b.t, c.Namespace, 80, name)
	return c
}

func (b *box) connect(network string, c *container) *Attachment {
	b.t.Helper()
	a, err := b.Connect(b.t.Context(), network, c.Endpoint)
	must(b.t, err)
	return a
}

// silence is how long no answer has to last to be one.
const silence = time.Second

// wants asks by both protocols; a client "*" is any, and "" is no answer.
func (b *box) wants(ns *netns.Namespace, to, want string) {
	b.t.Helper()
	long := patience
	if want == "" {
		long = silence
	}
	for _, network := range []string{"tcp", "udp"} {
		name, client, err := netnstest.Ask(ns, network, to, long)
		got := strings.TrimSpace(name + " " + client)
		if got != want && name+" *" != want {
			b.t.Errorf("%s %s: got %q (%v), want %q", network, to, got, err, want)
		}
	}
}

func both(host string, port uint16) []Port {
	var at netip.Addr
	if host != "" {
		at = netip.MustParseAddr(host)
	}
	return []Port{{Protocol: TCP, Container: 80, HostIP: at, First: port}, {Protocol: UDP, Container: 80, HostIP: at, First: port}}
}

// TestReach is who reaches whom.
func TestReach(t *testing.T) {
	b := newBox(t, nil)
	for _, s := range []Spec{
		{Name: "one"}, {Name: "two"}, {Name: "in", Internal: true},
		{Name: "shut", Options: map[string]string{optionICC: "false"}},
	} {
		_, err := b.Create(t.Context(), s)
		must(t, err)
	}
	netnstest.Serve(t, b.out, 80, "world")
	web := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) })
	db, far := b.container(2, "db", nil), b.container(3, "far", nil)
	in1, in2 := b.container(4, "in1", nil), b.container(5, "in2", nil)
	shut1, shut2 := b.container(6, "shut1", nil), b.container(7, "shut2", nil)
	def := b.container(8, "def", nil)
	webIP, dbIP, farIP := b.connect("one", web).IPv4.Addr().String(), b.connect("one", db).IPv4.Addr().String(), b.connect("two", far).IPv4.Addr().String()
	b.connect("in", in1)
	in2IP := b.connect("in", in2).IPv4.Addr().String()
	b.connect("shut", shut1)
	shut2IP := b.connect("shut", shut2).IPv4.Addr().String()
	b.connect("bridge", def)

	b.wants(web.Namespace, dbIP+":80", "db "+webIP)
	b.wants(far.Namespace, dbIP+":80", "")
	b.wants(def.Namespace, dbIP+":80", "")
	b.wants(web.Namespace, farIP+":80", "")
	b.wants(web.Namespace, outsideIP+":80", "world "+boxIP)
	b.wants(shut1.Namespace, outsideIP+":80", "world "+boxIP)
	b.wants(shut1.Namespace, shut2IP+":80", "")
	b.wants(in1.Namespace, in2IP+":80", "in2 *")
	b.wants(in1.Namespace, outsideIP+":80", "")
	b.wants(b.ns, dbIP+":80", "db *")
	b.wants(b.ns, in2IP+":80", "in2 *")

	// The published port.
	b.wants(b.out, boxIP+":8080", "web "+outsideIP)
	b.wants(b.ns, "127.0.0.1:8080", "web *")
	b.wants(b.ns, boxIP+":8080", "web *")
	b.wants(b.ns, "[::1]:8080", "web *")
	b.wants(b.out, "[fd77::1]:8080", "web *")
	b.wants(web.Namespace, boxIP+":8080", "web *") // itself
	b.wants(db.Namespace, boxIP+":8080", "web *")
	b.wants(far.Namespace, boxIP+":8080", "web *")
	// Who has no published port is not reached from outside.
	h, err := link.OpenBridges(b.out)
	must(t, err)
	defer h.Close()
	must(t, h.SetVia(99, link.Via{To: netip.MustParsePrefix("172.16.0.0/12"), Gateway: netip.MustParseAddr(boxIP)}))
	b.wants(b.out, dbIP+":80", "")

	// A second network while it runs.
	a := b.connect("two", web)
	if a.Interface != "eth1" {
		t.Error(a.Interface)
	}
	b.wants(web.Namespace, farIP+":80", "far "+a.IPv4.Addr().String())
	must(t, b.Disconnect(t.Context(), "one", web.Container))
	b.wants(web.Namespace, outsideIP+":80", "world "+boxIP)
	b.wants(b.out, boxIP+":8080", "web "+outsideIP)
	b.wants(b.ns, "127.0.0.1:8080", "web *")
	must(t, b.Leave(t.Context(), web.Container))
	b.wants(b.out, boxIP+":8080", "")
}

// TestHostFirewall: rules of the host's own decide about published ports, whichever
// hook they stand in.
func TestHostFirewall(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint("direct ", direct), func(t *testing.T) {
			b := newBox(t, func(o *Options) { o.IgnoreHostFirewall = direct })
			web := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) })
			b.connect("bridge", web)
			b.wants(b.out, boxIP+":8080", "web "+outsideIP)
			c, err := nft.Open(b.ns)
			must(t, err)
			defer c.Close()
			for _, hook := range []struct{ name, rule string }{
				{"input", "th dport 8080 drop"},
				{"input", `iifname "eth0" th dport 8080 drop`},
				{"forward", `iifname "eth0" oifname "docker0" drop`},
				{"forward", "ct original proto-dst 8080 drop"},
			} {
				tx := nft.NewTx("firewall")
				tx.Replace()
				tx.AddChain(nft.Chain{Name: "c", Type: "filter", Hook: hook.name})
				tx.AddRule("c", hook.rule)
				must(t, c.Apply(tx))
				want := ""
				if direct && hook.name == "input" {
					want = "web " + outsideIP
				}
				b.wants(b.out, boxIP+":8080", want)
			}
			must(t, dropTables(c, "firewall"))
			b.wants(b.out, boxIP+":8080", "web "+outsideIP)
		})
	}
}

// TestIPv6 publishes and connects by IPv6 without translation of families.
func TestIPv6(t *testing.T) {
	b := newBox(t, nil)
	yes := true
	_, err := b.Create(t.Context(), Spec{Name: "six", IPv6: &yes, IPAM: IPAM{Config: []Pool{{Subnet: netip.MustParsePrefix("fd00:9::/64")}}}})
	must(t, err)
	netnstest.Serve(t, b.out, 80, "world")
	web := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) })
	db := b.container(2, "db", nil)
	wa, da := b.connect("six", web), b.connect("six", db)
	if wa.IPv6.String() != "fd00:9::2/64" || wa.Gateway6.String() != "fd00:9::1" || !wa.IPv4.IsValid() {
		t.Errorf("%+v", wa)
	}
	b.wants(web.Namespace, "["+da.IPv6.Addr().String()+"]:80", "db fd00:9::2")
	b.wants(web.Namespace, "[fd77::2]:80", "world fd77::1")
	b.wants(b.out, "[fd77::1]:8080", "web fd77::2")
	b.wants(b.ns, "[::1]:8080", "web *")
	b.wants(b.ns, "[fd77::1]:8080", "web *")
	b.wants(db.Namespace, "[fd77::1]:8080", "web *")
	b.wants(web.Namespace, "[fd77::1]:8080", "web *")
}

// TestNames asks the embedded resolver.
func TestNames(t *testing.T) {
	b := newBox(t, nil)
	for _, n := range []string{"one", "two"} {
		_, err := b.Create(t.Context(), Spec{Name: n})
		must(t, err)
	}
	web := b.container(1, "web", func(e *Endpoint) { e.Links = []Link{{"db", "mysql"}} })
	db := b.container(2, "db", func(e *Endpoint) { e.Aliases = []string{"store"} })
	b.connect("one", web)
	dbIP := b.connect("one", db).IPv4.Addr().String()
	b.connect("two", b.container(3, "far", nil))
	// A server of the container's own on all addresses does not get in the way.
	must(t, web.Do(func() error {
		c, err := net.ListenPacket("udp4", ":53")
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}))
	look := func(network, name string) string {
		r := &net.Resolver{PreferGo: true, Dial: nil}
		r.Dial = dialIn(web.Namespace, network)
		got, err := r.LookupHost(t.Context(), name)
		if err != nil {
			return "no"
		}
		return strings.Join(got, " ")
	}
	for _, c := range []struct{ name, want string }{
		{"db.", dbIP}, {"store.", dbIP}, {"mysql.", dbIP}, {id(2)[:12] + ".", dbIP}, {"DB.", dbIP}, {"db.one.", dbIP}, {"far.", "no"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := look(network, c.name); got != c.want {
				t.Errorf("%s %s: got %s, want %s", network, c.name, got, c.want)
			}
		}
	}
	r := &net.Resolver{PreferGo: true, Dial: dialIn(web.Namespace, "udp")}
	if got, err := r.LookupAddr(t.Context(), dbIP); err != nil || len(got) != 1 || got[0] != "db.one." {
		t.Error(got, err)
	}
	f, err := b.Files(t.Context(), web.Container)
	must(t, err)
	if !strings.Contains(string(f.ResolvConf), "\nnameserver 127.0.0.11\n") {
		t.Errorf("%s", f.ResolvConf)
	}
	// A container that is renamed is found by its new name alone, by those that run too.
	must(t, b.Rename(t.Context(), db.Container, "renamed"))
	for name, want := range map[string]string{"renamed.": dbIP, "store.": dbIP, "db.": "no"} {
		if got := look("udp", name); got != want {
			t.Errorf("after a rename %s is %s, want %s", name, got, want)
		}
	}
	must(t, b.Rename(t.Context(), db.Container, "db"))
	// An earlier process's sockets are replaced.
	must(t, b.Close())
	if got := look("udp", "db."); got != "no" {
		t.Error("who answers?", got)
	}
	b.start(Running{web.Container, web.NetNS}, Running{db.Container, db.NetNS})
	if got := look("udp", "db."); got != dbIP {
		t.Error(got)
	}
}

func dialIn(ns *netns.Namespace, network string) func(ctx context.Context, _, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (c net.Conn, err error) {
		err = ns.Do(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, resolverAddress+":53")
			return err
		})
		return c, err
	}
}

// TestTakenByProgram: a port that a program of the host has is not published.
func TestTakenByProgram(t *testing.T) {
	b := newBox(t, nil)
	netnstest.Serve(t, b.ns, 8080, "program")
	web := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) })
	_, err := b.Connect(t.Context(), "bridge", web.Endpoint)
	if err == nil || !strings.HasSuffix(err.Error(), "failed to bind host port 0.0.0.0:8080/tcp: address already in use") {
		t.Error(err)
	}
	web.Ports = []Port{{Protocol: TCP, Container: 80, First: 8080, Last: 8082}}
	b.connect("bridge", web)
	if name, got, err := netnstest.Ask(b.out, "tcp", boxIP+":8081", patience); name != "web" || got != outsideIP {
		t.Error(got, err)
	}
}

// TestAdoption: the kernel serves while this process does not; the next one knows all
// of it, and Withdraw leaves nothing.
func TestAdoption(t *testing.T) {
	b := newBox(t, nil)
	_, err := b.Create(t.Context(), Spec{Name: "one"})
	must(t, err)
	web, gone := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) }), b.container(2, "gone", func(e *Endpoint) { e.Ports = both("", 8081) })
	b.connect("one", web)
	b.connect("one", gone)
	must(t, b.Close())
	b.wants(b.out, boxIP+":8080", "web "+outsideIP)
	b.wants(b.ns, "127.0.0.1:8080", "web *")
	// What a process that was killed has left.
	h, err := link.OpenBridges(b.ns)
	must(t, err)
	defer h.Close()
	must(t, h.Plug(link.Plug{Name: "box_abcdef", Bridge: "docker0", Inside: "eth5", Namespace: gone.NetNS, MTU: 1500}))

	b.start(Running{web.Container, web.NetNS})
	b.wants(b.out, boxIP+":8080", "web "+outsideIP)
	b.wants(b.out, boxIP+":8081", "")
	b.wants(b.ns, "[::1]:8080", "web *")
	if there, err := h.Exists("box_abcdef"); there || err != nil {
		t.Error("the leftover stays", err)
	}
	must(t, b.Leave(t.Context(), web.Container))
	must(t, b.Close())
	must(t, withdrawIn(b.ns, "box", b.o.Dir))
	all, err := h.Interfaces()
	must(t, err)
	if len(all) != 2 { // lo and eth0
		t.Errorf("%+v", all)
	}
	must(t, b.ns.Do(func() error {
		c, err := nft.Open(b.ns)
		if err != nil {
			return err
		}
		defer c.Close()
		if there, err := c.Exists("box-networks"); there || err != nil {
			t.Error("the table stays", err)
		}
		return nil
	}))
	// As after the machine has started anew.
	b.start()
	b.connect("one", web)
	b.wants(b.out, boxIP+":8080", "web "+outsideIP)
}

// TestNewUplink: clients by an interface that comes later are let in by the kernel too.
func TestNewUplink(t *testing.T) {
	b := newBox(t, nil)
	web := b.container(1, "web", func(e *Endpoint) { e.Ports = both("", 8080) })
	b.connect("bridge", web)
	out, err := link.OpenBridges(b.out)
	must(t, err)
	defer out.Close()
	must(t, out.Bridge(link.Bridge{Name: "more", MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.78.2/24")}}))
	must(t, out.Plug(link.Plug{Name: "box2", Bridge: "more", Inside: "eth1", Namespace: b.ns.Path(), MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.78.1/24")}}))
	var name, client string
	for end := time.Now().Add(patience); client != "192.168.78.2" && time.Now().Before(end); runtime.Gosched() {
		name, client, err = netnstest.Ask(b.out, "tcp", "192.168.78.1:8080", silence)
	}
	if name != "web" || client != "192.168.78.2" {
		t.Error(name, client, err)
	}
}
