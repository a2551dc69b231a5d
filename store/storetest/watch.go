package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"skiff.dev/skiff/store"
)

func testWatchFrom(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("a", "1")))
	commit(t, s, ops(put("b", "1"), put("x", "1")))
	commit(t, s, ops(put("a", "2")))
	for from, want := range map[int64]string{
		1: "+a=1@2/2 +b=1@3/3 +a=2@2/4 ", 2: "+a=1@2/2 +b=1@3/3 +a=2@2/4 ", 3: "+b=1@3/3 +a=2@2/4 ", 4: "+a=2@2/4 ",
	} {
		if got := showEvents(follow(t, watch(t, s, store.Watch{Start: "a", End: "c", From: from}), 4)); got != want {
			t.Errorf("from %d\n got %s\nwant %s", from, got, want)
		}
	}
	w := watch(t, s, store.Watch{Start: "a", From: 6})
	commit(t, s, ops(put("a", "5")))
	commit(t, s, ops(put("a", "6")))
	if got, want := showEvents(follow(t, w, 6)), "+a=6@2/6 "; got != want {
		t.Errorf("from a revision to come: %s, want %s", got, want)
	}
}

func testWatchNow(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("a", "1")))
	w := watch(t, s, store.Watch{Start: "a"})
	decoded := new(int)
	rev := commit(t, s, ops(store.Op{Key: "a", Value: []byte("2"), Decoded: decoded}))
	events := follow(t, w, rev)
	if got, want := showEvents(events), "+a=2@2/3 "; got != want {
		t.Fatalf("events %s, want %s", got, want)
	}
	if d := events[0].Decoded; d != nil && d != any(decoded) {
		t.Errorf("the event carries another object than its writer gave")
	}
	// Without Quiet, changes elsewhere are told as progress.
	rev = commit(t, s, ops(put("z", "1")))
	if got := follow(t, w, rev); len(got) != 0 {
		t.Errorf("events of another key: %s", showEvents(got))
	}
}

func testWatchQuiet(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	w := watch(t, s, store.Watch{Start: "a", Quiet: true})
	for range 100 {
		commit(t, s, ops(put("z", "1")))
	}
	go func() {
		s.Commit(context.Background(), ops(put("z", "1")))
		s.Commit(context.Background(), ops(put("a", "1")))
	}()
	b, err := w.Next(context.Background())
	if err != nil || showEvents(b.Events) != "+a=1@103/103 " {
		t.Errorf("%s, %v", showEvents(b.Events), err)
	}
}

// testWatchWhileWriting has watchers start at many moments while writers run;
// each must see every revision from its own on, once and in order.
func testWatchWhileWriting(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	const writers, each = 8, 100
	last := int64(store.FirstRevision + writers*each)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				if _, err := s.Commit(context.Background(), ops(put(fmt.Sprintf("k/%d", i), fmt.Sprint(n)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 16 {
		wg.Go(func() {
			from := int64(1)
			if i%2 == 1 {
				from = s.Revision() + 1
			}
			w, err := s.Watch(context.Background(), store.Watch{Start: "k/", End: "k0", From: from, Quiet: i%4 < 2})
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			for next := max(from, store.FirstRevision+1); next <= last; {
				b, err := w.Next(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range b.Events {
					if e.ModRevision != next {
						t.Errorf("revision %d, want %d", e.ModRevision, next)
						return
					}
					next++
				}
				if b.Revision != next-1 {
					t.Errorf("batch up to %d ends with revision %d", b.Revision, next-1)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testWatchEnds(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	ctx, cancel := context.WithCancel(context.Background())
	w, err := s.Watch(ctx, store.Watch{Start: "a"})
	if err != nil {
		t.Fatal(err)
	}
	nextCtx, cancelNext := context.WithCancel(context.Background())
	go cancelNext()
	_, err = w.Next(nextCtx)
	wantErr(t, err, context.Canceled)
	// A Next that was cancelled has lost nothing.
	commit(t, s, ops(put("a", "1")))
	if got := showEvents(follow(t, w, 2)); got != "+a=1@2/2 " {
		t.Errorf("after a cancelled Next: %s", got)
	}
	go cancel()
	_, err = w.Next(context.Background())
	wantErr(t, err, context.Canceled)

	closed := watch(t, s, store.Watch{Start: "a"})
	go closed.Close()
	_, err = closed.Next(context.Background())
	wantErr(t, err, context.Canceled)

	waiting := watch(t, s, store.Watch{Start: "a"})
	go s.Close()
	_, err = waiting.Next(context.Background())
	wantErr(t, err, store.ErrClosed)
}

func testCompaction(t *testing.T, open func() store.Store) {
	s := open()
	defer func() { s.Close() }()
	ctx := context.Background()
	for i := range 1000 {
		commit(t, s, ops(put(fmt.Sprintf("k%d", i%10), fmt.Sprint(i))))
	}
	commit(t, s, ops(del("k3"))) // 1002
	commit(t, s, ops(del("k4"))) // 1003
	commit(t, s, ops(put("k5", "last")))
	const at = 1003
	older := everything
	older.Revision = at
	before := show(ranged(t, s, older).KVs)
	wantErr(t, s.Compact(ctx, 2000), store.ErrFuture)
	for range 2 {
		if err := s.Compact(ctx, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(ctx, 5); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for _, rev := range []int64{1, 2, at - 1} {
			r := everything
			r.Revision = rev
			_, err := s.Range(ctx, r)
			wantErr(t, err, store.ErrCompacted)
			_, err = s.Watch(ctx, store.Watch{Start: "a", End: "z", From: rev})
			wantErr(t, err, store.ErrCompacted)
		}
		wantKVs(t, s, older, before)
		if n := ranged(t, s, everything).Count; n != 8 {
			t.Errorf("%d keys are left, want 8", n)
		}
		w := watch(t, s, store.Watch{Start: "a", End: "z", From: at})
		if got, want := showEvents(follow(t, w, at+1)), "-k4=@1003 +k5=last@7/1004 "; got != want {
			t.Errorf("watch from the compacted revision\n got %s\nwant %s", got, want)
		}
	}
	check()
	s.Close()
	s = open()
	check()
	commit(t, s, ops(put("k3", "again")))
	wantKVs(t, s, store.Range{Start: "k3"}, "k3=again@1005/1005 ")
	if err := s.Compact(ctx, 1005); err != nil {
		t.Fatal(err)
	}
	if n := ranged(t, s, everything).Count; n != 9 {
		t.Errorf("%d keys are left, want 9", n)
	}
	s.Close()
	s = open()
	wantKVs(t, s, store.Range{Start: "k3", End: "k6"}, "k3=again@1005/1005 k5=last@7/1004 ")
}

// testCompactionOfSlowWatch: a watcher that fell behind what was compacted gets
// all that it missed, or ErrCompacted; never a gap.
func testCompactionOfSlowWatch(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	w := watch(t, s, store.Watch{Start: "k", From: 1})
	const n = 6000
	for range n / 500 {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 10 {
					s.Commit(context.Background(), ops(put("k", "v")))
				}
			})
		}
		wg.Wait()
	}
	if err := s.Compact(context.Background(), n-10); err != nil {
		t.Fatal(err)
	}
	next := int64(2)
	for next <= n+1 {
		b, err := w.Next(context.Background())
		if errors.Is(err, store.ErrCompacted) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.ModRevision != next {
				t.Fatalf("revision %d, want %d", e.ModRevision, next)
			}
			next++
		}
	}
}
