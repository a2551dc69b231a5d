package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/disk"
	"skiff.dev/skiff/store/etcd"
	"skiff.dev/skiff/store/etcd/member"
)

func TestPlaces(t *testing.T) {
	for s, want := range map[string]place{
		"disk:///var/lib/x/":          {dir: "/var/lib/x"},
		"etcd://a:1":                  {endpoints: []string{"a:1"}},
		"etcd://a:1,[::1]:2/":         {endpoints: []string{"a:1", "[::1]:2"}},
		"etcd://a:1,b:2/clusters/one": {endpoints: []string{"a:1", "b:2"}, prefix: "clusters/one"},
	} {
		got, err := parsePlace("to", s)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "/dir", "disk://dir", "etcd://", "etcd://a", "etcd://a:1,", "etcd://:1", "http://a:1", "etcd://a:1/x:y"} {
		var f *Fault
		if _, err := parsePlace("to", s); !errors.As(err, &f) || !strings.Contains(f.What, "--to="+s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func startMember(t *testing.T, o member.Options) *member.Member {
	t.Helper()
	o.Dir, o.Name, o.PeerListen, o.ClientListen, o.Unsafe = t.TempDir(), "a", "127.0.0.1:0", "127.0.0.1:0", true
	o.Logger = slog.New(slog.DiscardHandler)
	m, err := member.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func contents(t *testing.T, s store.Store) (map[string]string, int64) {
	t.Helper()
	res, err := s.Range(context.Background(), store.Range{Start: "", End: "\xff"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range res.KVs {
		out[kv.Key] = string(kv.Value)
	}
	return out, res.Revision
}

// TestCopy moves a cluster from disk to etcd and back: everything is there, and no
// record's revision is at or below one that was seen before.
func TestCopy(t *testing.T) {
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	from := place{dir: filepath.Join(t.TempDir(), "a")}
	s, err := from.open(ctx, etcdTLS{}, 0, log)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("/registry/core/pods/d/%03d", i%400), Value: make([]byte, i*10)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/registry/core/pods/d/007", Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	want, last := contents(t, s)
	m := startMember(t, member.Options{})
	between := place{endpoints: []string{m.ClientAddress()}}
	there := place{dir: filepath.Join(t.TempDir(), "b")}
	for _, to := range []place{between, there} {
		open := func(first int64) (store.Store, error) { return to.open(ctx, etcdTLS{}, first, log) }
		n, err := copyStore(ctx, s, open, func(copied) {})
		if err != nil || n != len(want) {
			t.Fatalf("copied %d of %d records to %s: %v", n, len(want), to, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open(0); err != nil {
			t.Fatal(err)
		}
		got, rev := contents(t, s)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s has other contents", to)
		}
		res, err := s.Range(ctx, store.Range{Start: "", End: "\xff"})
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range res.KVs {
			if kv.ModRevision <= last {
				t.Fatalf("%s: %s has revision %d, the cluster had reached %d", to, kv.Key, kv.ModRevision, last)
			}
		}
		last = rev
		// A target that is not empty is left alone.
		other, err := disk.Open(filepath.Join(t.TempDir(), "c"), disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := copyStore(ctx, other, func(int64) (store.Store, error) { return keepOpen{s}, nil }, func(copied) {}); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("copied over %s: %v", to, err)
		}
		other.Close()
	}
	s.Close()
}

// keepOpen is a store that a copy does not close.
type keepOpen struct{ store.Store }

func (keepOpen) Close() error { return nil }

// failing stops taking writes.
type failing struct {
	store.Store
	left int
}

func (f *failing) Close() error { return nil }
func (f *failing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("cut off")
	}
	return f.Store.Commit(ctx, txn)
}

// TestCopyCutOff: what a copy has left half done is no store to start on, and the
// next copy takes it away.
func TestCopyCutOff(t *testing.T) {
	ctx := context.Background()
	openDisk := func() store.Store {
		s, err := disk.Open(t.TempDir(), disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	from, to := openDisk(), openDisk()
	for i := range 500 {
		if _, err := from.Commit(ctx, store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("/k%03d", i), Value: []byte("v")}}}); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := contents(t, from)
	quiet := func(copied) {}
	cut := func(after int) bool {
		_, err := copyStore(ctx, from, func(int64) (store.Store, error) { return &failing{to, after}, nil }, quiet)
		if err == nil {
			return false
		}
		if half, err := unfinished(ctx, to); err != nil || half != (after > 0) {
			t.Fatalf("after %d writes: unfinished %v %v", after, half, err)
		}
		return true
	}
	cuts := 0
	for after := 0; cut(after); after++ {
		if cuts++; cuts == 1 {
			after = 400 // most of them raise the revision
		} else if cuts == 2 {
			after = 0
		}
	}
	if cuts < 8 {
		t.Fatalf("only %d copies were cut off", cuts)
	}
	to = openDisk()
	cut(450)
	if err := (&process{cfg: &Config{}}).checkDatastore(ctx, to); err == nil {
		t.Error("a server starts on half a copy")
	}
	if _, err := copyStore(ctx, from, func(int64) (store.Store, error) { return keepOpen{to}, nil }, quiet); err != nil {
		t.Fatal(err)
	}
	if got, _ := contents(t, to); !reflect.DeepEqual(got, want) {
		t.Error("the repeated copy is another")
	}
}

// TestCheckDatastore: a cluster is not begun anew in an empty store because a flag
// has changed.
func TestCheckDatastore(t *testing.T) {
	ctx := context.Background()
	s, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check := func(was string, c Config) error {
		c.was = was
		return (&process{cfg: &c}).checkDatastore(ctx, s)
	}
	var f *Fault
	if err := check(onDisk, Config{ClusterInit: true}); !errors.As(err, &f) || !strings.Contains(f.What, "lives in disk") {
		t.Errorf("moved to an empty store: %v", err)
	}
	for name, err := range map[string]error{
		"new": check("", Config{ClusterInit: true}), "same": check(embedded, Config{ClusterInit: true}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/a"}}}); err != nil {
		t.Fatal(err)
	}
	if err := check(onDisk, Config{ClusterInit: true}); err != nil {
		t.Errorf("moved to a copy: %v", err)
	}
}

// TestEtcdIsTheServersAlone: an embedded member takes connections by its own
// authority's certificates only; no user of the cluster can get to the state.
func TestEtcdIsTheServersAlone(t *testing.T) {
	dir := t.TempDir()
	files, err := pki.EnsureEtcd(filepath.Join(dir, "etcd"), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := pki.Ensure(dir, pki.Options{NodeName: "n", Server: "https://127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	m := startMember(t, member.Options{
		ClientTLS: member.Files{Cert: files.Server, Key: files.ServerKey, CA: files.CA},
		PeerTLS:   member.Files{Cert: files.Peer, Key: files.PeerKey, CA: files.CA},
	})
	open := func(f etcdTLS) error {
		config, err := f.config()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s, err := etcd.Open(ctx, etcd.Options{Endpoints: []string{m.ClientAddress()}, TLS: config, Timeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := open(etcdTLS{CA: files.CA, Cert: files.Client, Key: files.ClientKey}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]etcdTLS{
		"nothing":        {},
		"no certificate": {CA: files.CA},
		"an admin's":     {CA: files.CA, Cert: filepath.Join(cluster.Dir, "admin.crt"), Key: filepath.Join(cluster.Dir, "admin.key")},
	} {
		if err := open(f); err == nil {
			t.Errorf("with %s the state is open", name)
		}
	}
}
