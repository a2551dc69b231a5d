package bridge

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestRestart: what one process has made, the next knows; containers that are gone
// are disconnected, and what was being made is taken away.
func TestRestart(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	begin := func(running ...Running) (*Manager, *fakeMachine) {
		f := &fakeMachine{}
		m := newManager(Options{Instance: "test", Bridge: "docker0"}, f, dirStore{dir})
		must(t, m.Restore(ctx, running))
		return m, f
	}
	m, _ := begin()
	n, err := m.Create(ctx, Spec{Name: "lab", IPAM: IPAM{Config: []Pool{{Subnet: netip.MustParsePrefix("10.7.0.0/24")}}}})
	must(t, err)
	for i := range 2 {
		_, err = m.Connect(ctx, "lab", Endpoint{Container: id(i), Name: "c", Hostname: "h", Ports: []Port{{Protocol: TCP, Container: 80}}})
		must(t, err)
	}
	must(t, m.store.beginNetwork(&Network{ID: id(9), Name: "half", Driver: DriverBridge}))
	must(t, os.WriteFile(filepath.Join(dir, "endpoints", id(8)+".json"), []byte(`{"Container":`), 0o600))

	m, f := begin(Running{Container: id(1), NetNS: "/run/new"})
	got, err := m.Get(ctx, "lab")
	must(t, err)
	if got.ID != n.ID || len(got.Attached) != 1 || got.Attached[id(1)].IPv4.String() != "10.7.0.3/24" {
		t.Errorf("%+v", got)
	}
	if to := f.published[id(1)]; len(to) != 2 || to[0].HostPort != 32769 {
		t.Error(to)
	}
	if m.sandboxes[id(1)].NetNS != "/run/new" {
		t.Error("the namespace's path is the old one")
	}
	if a, err := m.Connect(ctx, "lab", Endpoint{Container: id(5), Name: "d"}); err != nil || a.IPv4.Addr().String() != "10.7.0.2" {
		t.Error(a, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.begun"))
	if err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if _, err := m.Get(ctx, "half"); err == nil {
		t.Error("a network that was not finished is there")
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"Container":"` + id(1) + `","Ends":[{"Link":"a_b","IPv4":"10.0.0.2/24"}],"Bound":[{"HostIP":"::","HostPort":3}]}`))
	f.Add([]byte(`{"ID":"` + id(1) + `","Name":"n","Driver":"bridge","IPv4":true,"IPAM":{"Config":[{"Subnet":"10.0.0.0/24","Gateway":"10.0.0.1"}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := parseRecord(raw); err == nil {
			s := &sandbox{record: *r}
			s.forwards(s.gateway(true), s.gateway(false))
		}
		if n, err := parseNetwork(raw); err == nil {
			if l, err := load(n); err == nil {
				l.view()
			}
		}
	})
}
