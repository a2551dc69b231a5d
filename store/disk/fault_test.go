package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"skiff.dev/skiff/store"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// memory is a file system in memory with room enough.
func memory() *vfs.MemFS {
	fs := vfs.NewCrashableMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	return fs
}

func put(s *Store, key, value string) (int64, error) {
	return s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
}

func count(t *testing.T, s *Store, start, end string) int {
	t.Helper()
	res, err := s.Range(context.Background(), store.Range{Start: start, End: end})
	if err != nil {
		t.Fatal(err)
	}
	return res.Count
}

func TestLowSpace(t *testing.T) {
	fs := memory()
	s := open(t, "/var/data", Options{fs: fs, Logger: quiet, MinFree: 1000})
	put(s, "a", "1")
	put(s, "b", "1")
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 999})
	if _, err := put(s, "c", "1"); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("error %v, want ErrNoSpace", err)
	}
	if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: "a", Delete: true}}}); err != nil {
		t.Fatalf("deleting with little space: %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 499})
	if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: "b", Delete: true}}}); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("error %v, want ErrNoSpace", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000})
	if rev, err := put(s, "c", "1"); err != nil || rev != 5 {
		t.Fatalf("with space again: revision %d, %v", rev, err)
	}
	if n := count(t, s, "a", "z"); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

// TestWriteErrors lets writes fail in the file system at random while clients
// write, and checks that each acknowledged write stays, that each refused one is
// absent, that a watcher sees it all, and that the store heals.
func TestWriteErrors(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			var broken atomic.Bool
			var skip atomic.Int32
			fs := memory()
			failing := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if cause == syscall.EIO && isSync(op.Kind) {
					return nil // see TestSyncError
				}
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && broken.Load() && skip.Add(-1) < 0 {
					return cause
				}
				return nil
			}))
			s := open(t, "/var/data", Options{fs: failing, Logger: quiet, retryAfter: 1})
			w, err := s.Watch(context.Background(), store.Watch{Start: "k", End: "l", From: 1})
			if err != nil {
				t.Fatal(err)
			}
			acked, refused := map[string]int64{}, 0
			for round := range 20 {
				skip.Store(int32(round % 7))
				broken.Store(true)
				var mu sync.Mutex
				var wg sync.WaitGroup
				for c := range 8 {
					wg.Go(func() {
						for n := range 10 {
							key := fmt.Sprintf("k%d.%d.%d", round, c, n)
							rev, err := put(s, key, strings.Repeat("v", 100))
							mu.Lock()
							if err != nil {
								refused++
							}
							switch {
							case err == nil:
								acked[key] = rev
							case errors.Is(err, store.ErrNoSpace):
								acked[key] = 0
							}
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				broken.Store(false)
				key := fmt.Sprintf("k%d", round)
				rev, err := put(s, key, "healed")
				if err != nil {
					t.Fatalf("round %d: the store does not heal: %v", round, err)
				}
				acked[key] = rev
			}
			if refused == 0 || len(acked) == 20 {
				t.Errorf("%d acknowledged, %d refused: the test shows nothing", len(acked), refused)
			}
			checkAcked(t, s, acked)
			seen := map[string]int64{}
			for last := int64(0); last < s.Revision(); {
				b, err := w.Next(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range b.Events {
					if e.ModRevision <= last {
						t.Fatalf("revision %d after %d", e.ModRevision, last)
					}
					seen[e.Key] = e.ModRevision
				}
				last = b.Revision
			}
			for key, rev := range acked {
				if seen[key] != rev {
					t.Errorf("the watcher saw %s at %d, acknowledged at %d", key, seen[key], rev)
				}
			}
			s.Close()
			checkAcked(t, open(t, "/var/data", Options{fs: fs, Logger: quiet}), acked)
		})
	}
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
}

// TestSyncError lets a sync fail while clients write, once: from then on nothing is
// acknowledged, also when the disk is well again, reads go on, and the store says why.
// What was acknowledged before is there after a start.
func TestSyncError(t *testing.T) {
	for after := range 6 {
		var broken, failed atomic.Bool
		var syncs atomic.Int32
		fs := memory()
		failing := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if isSync(op.Kind) && broken.Load() && syncs.Add(1) > int32(after) && failed.CompareAndSwap(false, true) {
				return syscall.EIO
			}
			return nil
		}))
		s := open(t, "/var/data", Options{fs: failing, Logger: quiet, retryAfter: 1})
		if s.Failure() != nil {
			t.Fatal(s.Failure())
		}
		rev, err := put(s, "before", "1")
		if err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		acked := map[string]int64{"before": rev}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				for n := range 50 {
					key := fmt.Sprintf("k%d.%d", c, n)
					ill := failed.Load() // the sync has failed before this began
					rev, err := put(s, key, "1")
					mu.Lock()
					switch {
					case err == nil && ill:
						t.Errorf("%s was acknowledged after the failed sync", key)
					case err == nil:
						acked[key] = rev
					case !errors.Is(err, store.ErrReadOnly) || !errors.Is(err, syscall.EIO):
						t.Errorf("%s: error %v", key, err)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if !failed.Load() || !errors.Is(s.Failure(), store.ErrReadOnly) {
			t.Fatalf("after %d syncs: failed %v, the store says %v", after, failed.Load(), s.Failure())
		}
		if err := s.Compact(context.Background(), rev); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("a compaction gives %v", err)
		}
		checkAcked(t, s, acked)
		if n := count(t, s, "k", "l"); n != len(acked)-1 {
			t.Errorf("%d keys can be read, %d were acknowledged", n, len(acked)-1)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		again := open(t, "/var/data", Options{fs: fs, Logger: quiet})
		checkAcked(t, again, acked)
		if _, err := put(again, "on", "1"); err != nil {
			t.Error(err)
		}
		again.Close()
	}
}

// TestReadError: a disk that cannot be read gives the error and heals.
func TestReadError(t *testing.T) {
	var broken atomic.Bool
	fs := memory()
	failing := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead && broken.Load() {
			return syscall.EIO
		}
		return nil
	}))
	s := open(t, "/var/data", Options{fs: failing, Logger: quiet, CacheSize: 1})
	rev, err := put(s, "a", strings.Repeat("v", 10000))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, "/var/data", Options{fs: failing, Logger: quiet, CacheSize: 1}) // in a table now
	broken.Store(true)
	if _, err := s.Range(context.Background(), store.Range{Start: "a"}); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading gives %v", err)
	}
	broken.Store(false)
	checkAcked(t, s, map[string]int64{"a": rev})
}

// checkAcked looks for each key at its revision; 0 means absent.
func checkAcked(t *testing.T, s *Store, acked map[string]int64) {
	t.Helper()
	for key, rev := range acked {
		res, err := s.Range(context.Background(), store.Range{Start: key})
		if err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		if res.Count > 0 {
			got = res.KVs[0].ModRevision
		}
		if got != rev {
			t.Errorf("%s has revision %d, its writer was told %d", key, got, rev)
		}
	}
}

// TestPowerCut takes the disk as a power cut would leave it, with none, some or
// all of what was not synced, in the middle of writes: all that was acknowledged
// before is there, and the store opens.
func TestPowerCut(t *testing.T) {
	fs := memory()
	s := open(t, "/var/data", Options{fs: fs, Logger: quiet})
	var mu sync.Mutex
	acked := map[string]int64{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for n := 0; n < 400; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("k%d.%d", c, n)
				rev, err := put(s, key, strings.Repeat("v", n%5000))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[key] = rev
				mu.Unlock()
				if n%50 == 0 {
					s.Compact(context.Background(), rev)
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 45 {
		first, _ := put(s, "tick", fmt.Sprint(i))
		mu.Lock()
		before := make(map[string]int64, len(acked))
		for k, v := range acked {
			before[k] = v
		}
		mu.Unlock()
		before["tick"] = first
		cut := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[i%3], RNG: rnd})
		cut.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
		after, err := Open("/var/data", Options{fs: cut, Logger: quiet})
		if err != nil {
			t.Fatalf("power cut %d: %v", i, err)
		}
		checkAcked(t, after, before)
		if _, err := put(after, "tick", "on"); err != nil {
			t.Errorf("power cut %d: writing after it: %v", i, err)
		}
		after.Close()
	}
	close(stop)
	wg.Wait()
}

func TestCorruptRecord(t *testing.T) {
	s := open(t, "/var/data", Options{fs: memory(), Logger: quiet})
	put(s, "/registry/a", "1")
	rev, _ := put(s, "/registry/b", "2")
	key := versionKey(nil, "/registry/b", rev)
	b := make([]byte, recordSize(1))
	record{createRevision: rev, value: []byte("2")}.encode(b, key)
	b[len(b)-1] ^= 4
	if err := s.engine.Load().db.Set(key, b, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	_, err := s.Range(context.Background(), store.Range{Start: "/", End: "0"})
	var bad *store.CorruptError
	if !errors.As(err, &bad) || bad.Where != fmt.Sprintf("/registry/b at revision %d", rev) {
		t.Errorf("error %v does not name the record", err)
	}
	if n := count(t, s, "/registry/a", ""); n != 1 {
		t.Error("the record beside it cannot be read")
	}
}

// TestSweep: a compaction deletes from the database what nobody can see any
// more, tombstones included, and an idle store writes nothing.
func TestSweep(t *testing.T) {
	var writes atomic.Int64
	fs := errorfs.Wrap(memory(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			writes.Add(1)
		}
		return nil
	}))
	s := open(t, "/var/data", Options{fs: fs, Logger: quiet})
	for i := range 2000 {
		put(s, fmt.Sprintf("k%d", i%7), fmt.Sprint(i))
	}
	for i := range 6 {
		s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("k%d", i), Delete: true}}})
	}
	last, _ := put(s, "z", "1")
	if err := s.Compact(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, "/var/data", Options{fs: fs, Logger: quiet})
	sw := &sweeper{e: s.engine.Load(), stopped: make(chan struct{})}
	if err := sw.sweep(last); err != nil { // whatever the store's own has left
		t.Fatal(err)
	}
	it, err := s.engine.Load().db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for valid := it.First(); valid; valid = it.Next() {
		n++
	}
	if n != 4 { // the compacted revision, two versions, the newest change
		t.Errorf("%d entries are left, want 4", n)
	}
	before := writes.Load()
	if err := sw.sweep(last); err != nil || writes.Load() != before {
		t.Errorf("an idle sweep wrote: %v", err)
	}
}
