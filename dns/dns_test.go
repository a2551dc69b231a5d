package dns

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected answers in testdata")

// TestScripts asks the questions of each testdata file. A file holds objects.yaml,
// a list of questions "TYPE NAME", and the answers as text.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := New(Options{ResolvConf: os.DevNull})
			var answers *txtar.File
			var got strings.Builder
			for i := range a.Files {
				f := &a.Files[i]
				switch f.Name {
				case "objects.yaml":
					load(t, s.index, string(f.Data))
				case "questions":
					for _, line := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
						got.WriteString(ask(t, s, line))
					}
				case "answers":
					answers = f
				}
			}
			if *update {
				answers.Data = []byte(got.String())
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(answers.Data) {
				t.Errorf("answers are\n%s\nwant\n%s", got.String(), answers.Data)
			}
		})
	}
}

// load puts YAML objects into the index; one that begins with "# gone" is removed.
func load(t *testing.T, x *index, text string) {
	t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		gone := strings.HasPrefix(strings.TrimSpace(doc), "# gone")
		var meta struct{ Kind string }
		into := func(obj any) {
			if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
				t.Fatal(err, doc)
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			t.Fatal(err)
		}
		switch meta.Kind {
		case "Namespace":
			var o corev1.Namespace
			into(&o)
			x.setNamespace(o.Name, !gone)
		case "Service":
			var o corev1.Service
			into(&o)
			if gone {
				x.setService(o.Namespace, o.Name, nil)
			} else {
				x.setService(o.Namespace, o.Name, &o)
			}
		case "EndpointSlice":
			var o discoveryv1.EndpointSlice
			into(&o)
			x.setSlice(&o, gone)
		default:
			t.Fatalf("what is %q?", doc)
		}
	}
}

func ask(t *testing.T, s *Server, line string) string {
	t.Helper()
	typ, name, ok := strings.Cut(line, " ")
	if !ok || dns.StringToType[typ] == 0 {
		t.Fatalf("%q is no question", line)
	}
	reply := s.reply(context.Background(), new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[typ]), "udp")
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", line, dns.RcodeToString[reply.Rcode])
	for _, rr := range reply.Answer {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range reply.Ns {
		fmt.Fprintf(&b, "  authority %s\n", strings.ReplaceAll(rr.String(), "\t", " "))
	}
	for _, rr := range reply.Extra {
		fmt.Fprintf(&b, "  also %s\n", strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return b.String()
}

// upstream serves fixed answers as the machine's resolver would.
func upstream(t *testing.T, handle dns.HandlerFunc) (resolvConf string, port string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: conn, Handler: handle}
	go srv.ActivateAndServe() //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = srv.Shutdown() })
	_, port, _ = net.SplitHostPort(conn.LocalAddr().String())
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, port
}

func TestForwarding(t *testing.T) {
	asked := make(chan string, 10)
	_, port := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		asked <- m.Question[0].Name
		reply := new(dns.Msg).SetReply(m)
		if m.Question[0].Name == "there.example." {
			rr, _ := dns.NewRR("there.example. 60 IN A 192.0.2.7")
			reply.Answer = []dns.RR{rr}
		} else {
			reply.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(reply)
	})
	reply, err := exchange(t.Context(), new(dns.Msg).SetQuestion("there.example.", dns.TypeA), "udp", "127.0.0.1:"+port)
	if err != nil || len(reply.Answer) != 1 || <-asked != "there.example." {
		t.Fatalf("got %v, %v", reply, err)
	}
	if reply, err = exchange(t.Context(), new(dns.Msg).SetQuestion("not.example.", dns.TypeA), "udp", "127.0.0.1:"+port); err != nil || reply.Rcode != dns.RcodeNameError {
		t.Fatalf("got %v, %v", reply, err)
	}
}

func TestNoUpstreamIsAServerFailure(t *testing.T) {
	s := New(Options{ResolvConf: filepath.Join(t.TempDir(), "none")})
	reply := s.reply(t.Context(), new(dns.Msg).SetQuestion("example.org.", dns.TypeA), "udp")
	if reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", reply)
	}
}

// TestNoLoop: a machine whose resolver is the cluster's own DNS does not make it
// ask itself.
func TestNoLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 10.96.0.10\nnameserver 192.0.2.53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(Options{ResolvConf: path, Listen: []string{"10.96.0.10:53"}})
	if got := fmt.Sprint(s.forward.servers()); got != "[192.0.2.53:53]" {
		t.Errorf("asks %s", got)
	}
}

func TestTruncation(t *testing.T) {
	s := New(Options{ResolvConf: os.DevNull})
	s.index.setNamespace("default", true)
	s.index.setService("default", "many", &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}})
	slice := &discoveryv1.EndpointSlice{}
	slice.Namespace, slice.Name = "default", "many-1"
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "many"}
	for i := range 100 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.0.%d", i+1)}})
	}
	s.index.setSlice(slice, false)
	q := new(dns.Msg).SetQuestion("many.default.svc.cluster.local.", dns.TypeA)
	for _, c := range []struct {
		size uint16
		want int
		cut  bool
	}{{0, 512, true}, {4096, 4096, false}} {
		m := q.Copy()
		if c.size > 0 {
			m.SetEdns0(c.size, false)
		}
		reply := s.reply(t.Context(), m, "udp")
		reply.Truncate(sizeFor(m))
		if reply.Len() > c.want || reply.Truncated != c.cut {
			t.Errorf("a client that takes %d gets %d bytes, truncated %t", c.size, reply.Len(), reply.Truncated)
		}
	}
}

// FuzzReply: whatever bytes come, the server neither panics nor answers another
// question.
func FuzzReply(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "1.0.96.10.in-addr.arpa.", "_http._tcp.web.default.svc.cluster.local.", "10-0-0-1.default.pod.cluster.local."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := New(Options{ResolvConf: os.DevNull})
	s.index.setNamespace("default", true)
	s.index.setService("default", "web", &corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.1"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m dns.Msg
		if m.Unpack(b) != nil {
			return
		}
		reply := s.reply(context.Background(), &m, "udp")
		if reply.Id != m.Id || !reply.Response {
			t.Errorf("%v is answered by %v", &m, reply)
		}
		if _, err := reply.Pack(); err != nil && len(m.Question) == 1 && m.Copy().Len() > 0 {
			if _, perr := m.Pack(); perr == nil {
				t.Errorf("the answer to %v cannot be written: %v", &m, err)
			}
		}
	})
}

func BenchmarkReply(b *testing.B) {
	s := New(Options{ResolvConf: os.DevNull})
	s.index.setNamespace("default", true)
	for i := range 10000 {
		s.index.setService("default", fmt.Sprintf("web-%d", i), &corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250)}}})
	}
	q := new(dns.Msg).SetQuestion("web-777.default.svc.cluster.local.", dns.TypeA)
	for b.Loop() {
		if r := s.reply(context.Background(), q, "udp"); len(r.Answer) != 1 {
			b.Fatal(r)
		}
	}
}

// TestNamesThatDifferInCase: DNS has one answer for them, and keeps it when the
// other goes.
func TestNamesThatDifferInCase(t *testing.T) {
	x := newIndex()
	service := func(ip string) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{ClusterIPs: []string{ip}}}
	}
	check := func(want string) {
		t.Helper()
		e := x.entries[key{"default", "web"}]
		got := ""
		if e != nil {
			got = e.addresses[0].String()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	x.setService("default", "Web", service("10.0.0.1"))
	x.setService("default", "WEB", service("10.0.0.2"))
	check("10.0.0.1")
	x.setService("default", "web", service("10.0.0.3"))
	check("10.0.0.3")
	x.setService("default", "Web", service("10.0.0.4"))
	check("10.0.0.3")
	x.setService("default", "WEB", nil)
	check("10.0.0.3")
	x.setService("default", "web", nil)
	check("10.0.0.4")
	x.setService("default", "Web", nil)
	check("")
	if len(x.services) != 0 {
		t.Errorf("%v stay", x.services)
	}
}
