package bridge

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// resolverOf is the resolver of a container in a user's network on the fake, whose
// forwards fail at once.
func resolverOf(t testing.TB) (*names, *Manager) {
	m := NewFake()
	_, err := m.Create(context.Background(), Spec{Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"web", "db"} {
		e := Endpoint{Container: id(i), Name: name, Aliases: []string{"both"}, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		if i == 0 {
			e.Links = []Link{{"db", "mysql"}}
		}
		if _, err := m.Connect(context.Background(), "lab", e); err != nil {
			t.Fatal(err)
		}
	}
	return &names{m, m.sandboxes[id(0)], make(chan struct{}, 1)}, m
}

func noWay(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }

func TestAnswers(t *testing.T) {
	r, m := resolverOf(t)
	for _, c := range []struct {
		name    string
		qtype   uint16
		answers int
		rcode   int
	}{
		{"db.", dns.TypeA, 1, dns.RcodeSuccess},
		{"both.", dns.TypeA, 2, dns.RcodeSuccess},
		{"db.", dns.TypeAAAA, 0, dns.RcodeSuccess},
		{"db.", dns.TypeMX, 0, dns.RcodeSuccess},
		{"mysql.", dns.TypeA, 1, dns.RcodeSuccess},
		{"db.lab.", dns.TypeA, 1, dns.RcodeSuccess},
		{"3.0.18.172.in-addr.arpa.", dns.TypePTR, 1, dns.RcodeSuccess},
		{"9.9.18.172.in-addr.arpa.", dns.TypePTR, 0, dns.RcodeServerFailure},
		{"elsewhere.example.", dns.TypeA, 0, dns.RcodeServerFailure},
	} {
		got := r.resolve(t.Context(), new(dns.Msg).SetQuestion(c.name, c.qtype), "udp", noWay)
		if len(got.Answer) != c.answers || got.Rcode != c.rcode {
			t.Errorf("%s %s: %v", c.name, dns.TypeToString[c.qtype], got)
		}
	}
	// No room: the client hears so at once.
	r.waiting <- struct{}{}
	if got := r.resolve(t.Context(), new(dns.Msg).SetQuestion("elsewhere.example.", dns.TypeA), "udp", noWay); got.Rcode != dns.RcodeRefused {
		t.Error(got)
	}
	if err := m.Leave(t.Context(), id(1)); err != nil {
		t.Fatal(err)
	}
	if got := r.resolve(t.Context(), new(dns.Msg).SetQuestion("both.", dns.TypeA), "udp", noWay); len(got.Answer) != 1 {
		t.Error(got)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"db.", "3.0.18.172.in-addr.arpa.", "x.ip6.arpa.", "."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	r, _ := resolverOf(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q dns.Msg
		if q.Unpack(b) != nil {
			return
		}
		got := r.resolve(context.Background(), &q, "udp", noWay)
		if got.Id != q.Id || !got.Response {
			t.Errorf("%v is answered by %v", &q, got)
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:2 # x\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := parseResolvConf(raw)
		again := parseResolvConf(c.text())
		if len(again.servers) != len(c.servers) || len(again.search) != len(c.search) {
			t.Errorf("%q became %q", raw, c.text())
		}
	})
}
