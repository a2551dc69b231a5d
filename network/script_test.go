package network

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/nft"
)

var update = flag.Bool("update", false, "rewrite the expected tables in testdata")

var testPlace = place{node: "node1", cluster: netip.MustParsePrefix("10.244.0.0/16")}

func testLayout() layout {
	return layout{instance: "skiff", cluster: testPlace.cluster, services: netip.MustParsePrefix("10.96.0.0/16")}
}

// TestScripts brings objects in, step by step, as each testdata file says: a step
// is objects.yaml, objects of which "# gone" says that they are deleted, followed
// by what the table's changing part then is.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			must(t, err)
			fake := &nft.Fake{}
			p := newProxy(fake, &link.Fake{}, testLayout(), testPlace.node)
			must(t, p.adopt(map[string]*fragment{}))
			p.served = true
			empty := fake.Dump()
			for i := range a.Files {
				f := &a.Files[i]
				if f.Name == "objects.yaml" {
					feed(t, p, string(f.Data))
					must(t, p.sync())
					continue
				}
				got := []byte(beyond(fake.Dump(), empty))
				if *update {
					f.Data = got
				} else if string(f.Data) != string(got) {
					t.Errorf("%s is\n%s\nwant\n%s", f.Name, got, f.Data)
				}
			}
			if *update {
				must(t, os.WriteFile(path, txtar.Format(a), 0o644))
			}
		})
	}
}

// beyond leaves out the parts of a dump that the fixed table has too.
func beyond(dump, base string) string {
	parts := func(s string) []string {
		return strings.SplitAfter(strings.TrimPrefix(s, "table ip skiff {\n"), "\n\t}\n")
	}
	have := parts(base)
	var out strings.Builder
	for _, p := range parts(dump) {
		if !slices.Contains(have, p) {
			out.WriteString(p)
		}
	}
	return out.String()
}

func feed(t *testing.T, p *proxy, text string) {
	t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		gone := strings.HasPrefix(strings.TrimSpace(doc), "# gone")
		var kind struct{ Kind string }
		must(t, yaml.Unmarshal([]byte(doc), &kind))
		n := &Network{proxy: p}
		switch kind.Kind {
		case "Service":
			s := &v1.Service{}
			must(t, yaml.UnmarshalStrict([]byte(doc), s))
			if gone {
				n.onService(s, nil)
			} else {
				n.onService(nil, s)
			}
		case "EndpointSlice":
			s := &discoveryv1.EndpointSlice{}
			must(t, yaml.UnmarshalStrict([]byte(doc), s))
			if gone {
				n.onSlice(s, nil)
			} else {
				n.onSlice(nil, s)
			}
		default:
			t.Fatalf("unknown object\n%s", doc)
		}
	}
}

// TestChangesAddUp makes many changes at random, in which owners want the same
// keys, and holds the table after each against one that is written whole.
func TestChangesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	step, whole := &nft.Fake{}, &nft.Fake{}
	p := newProxy(step, &link.Fake{}, testLayout(), testPlace.node)
	must(t, p.adopt(map[string]*fragment{}))
	p.served = true
	pick := func(n int) string { return fmt.Sprint(r.IntN(n)) }
	for i := range 600 {
		news := map[string]*fragment{}
		for range 1 + r.IntN(3) {
			if r.IntN(4) == 0 {
				uid := "u" + pick(4)
				news[podOwner(uid)] = podFragment(record{UID: uid, Addr: netip.MustParseAddr("10.244.0.1" + pick(9)),
					HostPorts: []HostPort{{Protocol: v1.ProtocolTCP, Host: uint16(80 + r.IntN(2)), Pod: 80}}})
				continue
			}
			name := "s" + pick(5)
			svc := service(name, "10.96.0.2"+pick(3), func(s *v1.Service) {
				s.Spec.ExternalIPs = []string{"192.0.2." + pick(4)}
				s.Spec.Type = v1.ServiceTypeNodePort
				if r.IntN(3) == 0 {
					s.Spec.SessionAffinity = v1.ServiceAffinityClientIP
				}
				if r.IntN(3) == 0 {
					s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
				}
			}, ports(int32(30000+r.IntN(3)))...)
			var eps []string
			for range r.IntN(4) {
				eps = append(eps, "10.244.0."+pick(200))
			}
			news["service/default/"+name] = compileService(svc, []*discoveryv1.EndpointSlice{slice(name, 80, eps...)}, testPlace)
			if r.IntN(4) == 0 {
				news["service/default/"+name] = nil
			}
		}
		if err := p.change(news); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if !p.known {
			t.Fatalf("step %d wrote the table anew", i)
		}
		must(t, whole.Apply(p.rules.full()))
		if a, b := step.Dump(), whole.Dump(); a != b {
			t.Fatalf("step %d: changed table\n%s\nwhole table\n%s", i, a, b)
		}
		for e, owner := range p.rules.owners {
			if _, ok := p.rules.frags[owner].elements[e]; !ok {
				t.Fatalf("step %d: %v belongs to %s, which does not want it", i, e, owner)
			}
		}
		for o, f := range p.rules.frags {
			for e := range f.elements {
				if p.rules.owners[e] == "" {
					t.Fatalf("step %d: %s does not get %v", i, o, e)
				}
			}
		}
	}
}

// TestRefusedTransaction recovers by writing the table anew.
func TestRefusedTransaction(t *testing.T) {
	fake := &nft.Fake{}
	p := newProxy(fake, &link.Fake{}, testLayout(), testPlace.node)
	must(t, p.adopt(map[string]*fragment{}))
	p.served = true
	must(t, dropTable(fake, "skiff"))
	p.setService(nsName("default", "s"), service("s", "10.96.0.5", nil, ports(0)...))
	must(t, p.sync())
	if !strings.Contains(fake.Dump(), "10.96.0.5 . tcp . 80 : goto refuse") {
		t.Error(fake.Dump())
	}
}

func TestIPAM(t *testing.T) {
	m, err := newIPAM(netip.MustParsePrefix("10.0.0.0/29"))
	must(t, err)
	var got []string
	next := func() {
		a, err := m.next()
		if err != nil {
			got = append(got, "full")
			return
		}
		got = append(got, a.String())
	}
	next()
	m.release(netip.MustParseAddr("10.0.0.2"))
	for range 6 {
		next()
	}
	want := "[10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.2 full]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, bad := range []string{"10.0.0.0/31", "10.0.0.0/32", "fd00::/64"} {
		if _, err := newIPAM(netip.MustParsePrefix(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestAddOnFakes(t *testing.T) {
	fake, host := &nft.Fake{}, &link.Fake{}
	o := Options{
		Instance: "skiff", NodeName: "node1", RunDir: t.TempDir(), Host: host, NFT: fake,
		ClusterCIDR: testPlace.cluster, ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"),
	}
	n, err := New(o)
	must(t, err)
	r := PodRequest{UID: "a", Namespace: "default", Name: "a", NetNS: "/run/a"}
	if _, err := n.Add(context.Background(), r); err == nil || !strings.Contains(err.Error(), ErrNoRange.Error()) {
		t.Fatalf("without a range: %v", err)
	}
	must(t, n.SetPodCIDR(netip.MustParsePrefix("10.244.3.0/24")))
	for range 2 {
		st, err := n.Add(context.Background(), r)
		if err != nil || fmt.Sprint(st.IPs) != "[10.244.3.2]" {
			t.Fatal(st, err)
		}
	}
	if _, err := n.Add(context.Background(), PodRequest{UID: "../a"}); err == nil {
		t.Error("a uid that leaves the directory was taken")
	}
	must(t, n.Remove(context.Background(), "unknown"))
	must(t, n.Remove(context.Background(), "a"))
	must(t, n.Wipe())
	if left := fake.Dump(); left != "" {
		t.Error(left)
	}
	if names, _ := host.Names(""); len(names) > 0 {
		t.Error(names)
	}
	if _, err := New(Options{Instance: "Bad-Name"}); err == nil {
		t.Error("a bad instance name was taken")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"uid":"a","link":"skiff-x","addr":"10.244.0.2","hostPorts":[{"Protocol":"TCP","Host":80,"Pod":80}]}`))
	f.Add([]byte(`{"addr":"fd00::1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if rec, err := parseRecord(raw); err == nil {
			podFragment(rec)
		}
	})
}
