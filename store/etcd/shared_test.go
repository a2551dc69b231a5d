package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/etcd/member"
)

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func mustCommit(t *testing.T, s store.Store, ops ...store.Op) int64 {
	t.Helper()
	rev, err := s.Commit(context.Background(), store.Txn{Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// reach reads a watch up to a revision.
func reach(t *testing.T, w store.Watcher, rev int64) (events []store.Event) {
	t.Helper()
	for {
		b, err := w.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if events = append(events, b.Events...); b.Revision >= rev {
			return events
		}
	}
}

// TestLatestSeesOthers: what another process has written, below the prefix or not,
// is in the newest revision, and watches reach it without a further write.
func TestLatestSeesOthers(t *testing.T) {
	m := startMember(t)
	ctx := context.Background()
	a, b := open(t, remote(m)), open(t, remote(m))
	other := remote(m)
	other.Prefix = "skiff2"
	c := open(t, other)
	w, err := a.Watch(ctx, store.Watch{Start: "/", End: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 20 {
		rev, want := int64(0), 0
		if i%2 == 0 {
			rev, want = mustCommit(t, b, put(fmt.Sprint("/k", i), "v")), 1
		} else {
			rev = mustCommit(t, c, put(fmt.Sprint("/k", i), "v"))
		}
		latest, err := a.Latest(ctx)
		if err != nil || latest < rev || a.Revision() < rev {
			t.Fatalf("newest revision %d, known %d, want %d: %v", latest, a.Revision(), rev, err)
		}
		if got := reach(t, w, rev); len(got) != want {
			t.Fatalf("%d events up to %d, want %d", len(got), rev, want)
		}
	}
	res, err := a.Range(ctx, store.Range{Start: "/", End: "0"})
	if err != nil || res.Count != 10 {
		t.Fatalf("%d keys, want 10: %v", res.Count, err)
	}
}

// TestLatestIsShared: calls at one time share the next request, never one that
// began before them.
func TestLatestIsShared(t *testing.T) {
	asked, answer := make(chan int), make(chan int64)
	n := 0
	l := latest{ask: func(context.Context) (int64, error) {
		n++
		asked <- n
		return <-answer, nil
	}}
	ctx := context.Background()
	first := make(chan int64)
	go func() { rev, _ := l.get(ctx, ctx); first <- rev }()
	<-asked
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[int64]int{}
	for range 50 {
		wg.Go(func() {
			rev, err := l.get(ctx, ctx)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[rev]++
			mu.Unlock()
		})
	}
	answer <- 7
	if rev := <-first; rev != 7 {
		t.Fatalf("the first has %d", rev)
	}
	// Those that came in time share the second; stragglers get a later one.
	go func() {
		for rev := int64(8); ; rev++ {
			if _, more := <-asked; !more {
				return
			}
			answer <- rev
		}
	}()
	wg.Wait()
	close(asked)
	if got[7] != 0 {
		t.Errorf("%d got an answer to an older question", got[7])
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	idle := latest{ask: func(c context.Context) (int64, error) { <-c.Done(); return 0, c.Err() }}
	if _, err := idle.get(gone, gone); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

func TestLimits(t *testing.T) {
	s := open(t, remote(startMember(t)))
	var many []store.Op
	for i := range 129 {
		many = append(many, put(fmt.Sprint("k", i), "v"))
	}
	for name, ops := range map[string][]store.Op{
		"operations":      many,
		"etcd's bytes":    {put("a", string(bytes.Repeat([]byte("x"), 1600<<10)))},
		"bytes of a call": {put("a", string(bytes.Repeat([]byte("x"), 3<<20)))},
	} {
		if _, err := s.Commit(context.Background(), store.Txn{Ops: ops}); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
	}
	mustCommit(t, s, many[:128]...)
	if s.Revision() != 2 {
		t.Errorf("revision %d: a refused transaction was applied", s.Revision())
	}
}

func TestNoSpace(t *testing.T) {
	m, err := member.Start(context.Background(), member.Options{
		Dir: t.TempDir(), Name: "a", PeerListen: "127.0.0.1:0", ClientListen: "127.0.0.1:0",
		Quota: 64 << 10, Unsafe: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	s := open(t, remote(m))
	mustCommit(t, s, put("small", "v"))
	for i := 0; ; i++ { // until etcd notices, when it next syncs its file
		_, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{put(fmt.Sprint(i), string(make([]byte, 16<<10)))}})
		if errors.Is(err, store.ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: "small", Delete: true}}}); err != nil {
		t.Errorf("a deletion on a full etcd: %v", err)
	}
	if res, err := s.Range(context.Background(), store.Range{Start: "small"}); err != nil || res.Count != 0 {
		t.Errorf("a read on a full etcd: %+v %v", res, err)
	}
}

// freePort is an address that nobody listens on, so that a member can come back to it.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestMemberComesBack: a watch goes on over a restart of etcd, without gap or
// duplicate; where etcd has compacted meanwhile what it would need, it says so.
func TestMemberComesBack(t *testing.T) {
	dir, address, peer := t.TempDir(), freePort(t), freePort(t)
	start := func(clients string) *member.Member {
		m, err := member.Start(context.Background(), member.Options{
			Dir: dir, Name: "a", PeerListen: peer, ClientListen: clients, Unsafe: true, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := start(address)
	s := open(t, Options{Endpoints: []string{address}, Logger: slog.New(slog.DiscardHandler)})
	ctx := context.Background()
	w, err := s.Watch(ctx, store.Watch{Start: "k", From: 2})
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, put("k", "1"))
	reach(t, w, 2)
	// elsewhere writes while s cannot reach the member.
	elsewhere := func(write func(store.Store)) {
		m.Close()
		m = start("127.0.0.1:0")
		o, err := Open(ctx, Options{Client: m.Client()})
		if err != nil {
			t.Fatal(err)
		}
		write(o)
		o.Close()
		m.Close()
		m = start(address)
	}
	elsewhere(func(o store.Store) {
		for i := range 10 {
			mustCommit(t, o, put("k", fmt.Sprint(i)))
		}
	})
	if got := reach(t, w, 12); len(got) != 10 || got[0].ModRevision != 3 || got[9].ModRevision != 12 {
		t.Errorf("after the first restart: %d events", len(got))
	}
	elsewhere(func(o store.Store) {
		for i := range 10 {
			mustCommit(t, o, put("k", fmt.Sprint(i)))
		}
		if err := o.Compact(ctx, 20); err != nil {
			t.Fatal(err)
		}
	})
	defer func() { m.Close() }()
	for {
		b, err := w.Next(ctx)
		if errors.Is(err, store.ErrCompacted) {
			break
		}
		if err != nil || len(b.Events) > 0 {
			t.Fatalf("a gap: %+v %v", b, err)
		}
	}
	rev := mustCommit(t, s, put("k", "last"))
	again, err := s.Watch(ctx, store.Watch{Start: "k", From: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := reach(t, again, rev); len(got) != 4 {
		t.Errorf("%d events since the compaction, want 4", len(got))
	}
}

// TestUnreachable: an etcd that is not there is said so, in time.
func TestUnreachable(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, Options{Endpoints: []string{freePort(t)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
