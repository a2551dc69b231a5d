package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/telemetry"
)

func configMaps() *kinds.Kind {
	return &kinds.Kind{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespaced: true,
		New: func() kinds.Object { return &corev1.ConfigMap{} }}
}

func newCache(t *testing.T, s store.Store) (*Cache, *Kind) {
	t.Helper()
	k := configMaps()
	c, err := New(context.Background(), s, []*kinds.Kind{k}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.Of(k)
}

func put(t *testing.T, c *Cache, k *Kind, name, value string) int64 {
	t.Helper()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Data: map[string]string{"v": value}}
	b, err := codec.EncodeStored(k.Kind, obj)
	if err != nil {
		t.Fatal(err)
	}
	rev, err := c.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: k.StoreKey("n", name), Value: b, Decoded: &Entry{Object: obj}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitFor(context.Background(), rev); err != nil {
		t.Fatal(err)
	}
	return rev
}

// TestStartsContextEnds holds that a cache goes on, without a word, when the
// context of its start has ended.
func TestStartsContextEnds(t *testing.T) {
	s := mem.New()
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	k := configMaps()
	c, err := New(ctx, s, []*kinds.Kind{k}, telemetry.New(&log, slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	put(t, c, c.Of(k), "a", "1")
	if c.Of(k).Get("n", "a") == nil {
		t.Error("the cache does not show what was written after the start's context ended")
	}
	c.Close()
	if log.Len() > 0 {
		t.Errorf("it complains: %s", log.String())
	}
}

// TestSnapshotStays holds that a snapshot does not see later writes.
func TestSnapshotStays(t *testing.T) {
	s := mem.New()
	defer s.Close()
	c, k := newCache(t, s)
	first := put(t, c, k, "a", "1")
	snap := k.Snapshot()
	for i := range 100 {
		put(t, c, k, fmt.Sprint("x", i), "1")
	}
	if snap.Len() != 1 || snap.Revision != first || k.Snapshot().Len() != 101 {
		t.Errorf("snapshot has %d objects at %d; the kind %d", snap.Len(), snap.Revision, k.Snapshot().Len())
	}
	old, err := k.SnapshotAt(context.Background(), first)
	if err != nil || old.Len() != 1 {
		t.Errorf("the past has %d objects, %v", old.Len(), err)
	}
}

// TestCursor holds that a cursor sees each change once and in order, also across
// the ring's growth, and is told when its place is gone.
func TestCursor(t *testing.T) {
	s := mem.New()
	defer s.Close()
	c, k := newCache(t, s)
	start := put(t, c, k, "a", "0")
	cur, err := k.Watch(start)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * ringMin
	for i := 1; i <= n; i++ {
		put(t, c, k, "a", fmt.Sprint(i))
	}
	seen := 0
	for seen < n {
		evs, err := cur.Next(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs {
			seen++
			if got := ev.New.Object.(*corev1.ConfigMap).Data["v"]; got != fmt.Sprint(seen) {
				t.Fatalf("event %d carries %s", seen, got)
			}
		}
	}
	if _, err := k.Watch(start - 2); !errors.As(err, new(*ExpiredError)) {
		t.Errorf("a watch from before the load: %v", err)
	}
}

// TestRingForgets holds that old events leave a full ring and that cursors behind
// them expire.
func TestRingForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r ring
		r.reset(10)
		for i := range int64(ringMin) {
			r.add(Event{Revision: 11 + i})
		}
		if r.lost != 10 || r.after(10) != 0 || r.after(11) != 1 {
			t.Errorf("lost %d, after(10) %d, after(11) %d", r.lost, r.after(10), r.after(11))
		}
		time.Sleep(2 * fresh) // the clock of the bubble
		r.add(Event{Revision: 1000})
		if r.lost != 11 || len(r.buf) != ringMin {
			t.Errorf("after old age: lost %d, size %d", r.lost, len(r.buf))
		}
		for i := range int64(10 * ringMin) {
			r.add(Event{Revision: 1001 + i})
		}
		if len(r.buf) < 10*ringMin {
			t.Errorf("a busy ring keeps only %d events", len(r.buf))
		}
		time.Sleep(2 * fresh)
		r.trim()
		if len(r.buf) != ringMin || r.n != ringMin || r.buf[r.index(r.head-1)].Revision != 1000+10*ringMin {
			t.Errorf("after trim: size %d, %d events", len(r.buf), r.n)
		}
	})
}

// TestEncodedOnce holds that readers share one encoding.
func TestEncodedOnce(t *testing.T) {
	e := &Entry{Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}}
	a, err := e.Body(codec.JSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := e.Body(codec.JSON, nil)
	if &a[0] != &b[0] {
		t.Error("the object was encoded twice")
	}
	e.Trim()
	if c, _ := e.Body(codec.JSON, nil); &c[0] != &a[0] {
		t.Error("an encoding in use was dropped")
	}
	e.Trim()
	e.Trim()
	if c, _ := e.Body(codec.JSON, nil); &c[0] == &a[0] {
		t.Error("an unused encoding was kept")
	}
}

// failing is a store whose first watch is lost and that cannot be read for a while.
type failing struct {
	store.Store
	watches, reads int
}

func (f *failing) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	inner, err := f.Store.Watch(ctx, w)
	if f.watches++; f.watches == 1 && err == nil {
		inner = lostWatcher{inner}
	}
	return inner, err
}

type lostWatcher struct{ store.Watcher }

func (lostWatcher) Next(context.Context) (store.Batch, error) {
	return store.Batch{}, store.ErrCompacted
}

func (f *failing) Range(ctx context.Context, r store.Range) (store.RangeResult, error) {
	if f.watches > 0 {
		if f.reads++; f.reads <= 5 {
			return store.RangeResult{}, errors.New("not now")
		}
	}
	return f.Store.Range(ctx, r)
}

// TestReloadsUntilItCan: a store that fails while everything is read again does not
// end the cache.
func TestReloadsUntilItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &failing{Store: mem.New()}
		c, k := newCache(t, s)
		begin := time.Now()
		put(t, c, k, "a", "1")
		if k.Get("n", "a") == nil || s.reads <= 5 {
			t.Errorf("the cache does not follow after %d reads", s.reads)
		}
		if took := time.Since(begin); took < 5*reloadEvery {
			t.Errorf("five failures took %v", took)
		}
	})
}
