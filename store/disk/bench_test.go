package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/store"
)

// value is as long as a stored pod with its managed fields.
var value = bytes.Repeat([]byte("0123456789abcdef"), 160)

func cpu() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds())
}

// BenchmarkOneClient reports the median of a durable write, of a bare write and
// fdatasync of as many bytes to the same disk, taken in turns, and what the
// store adds.
func BenchmarkOneClient(b *testing.B) {
	dir := b.TempDir()
	s := open(b, filepath.Join(dir, "store"), Options{})
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 64<<20); err != nil {
		b.Logf("no preallocation: %v", err)
	}
	var bare, ours []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := f.Write(value); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := s.Commit(context.Background(), store.Txn{
			Guards: []store.Guard{{Key: fmt.Sprint("k", i)}},
			Ops:    []store.Op{{Key: fmt.Sprint("k", i), Value: value}},
		}); err != nil {
			b.Fatal(err)
		}
		bare, ours = append(bare, middle.Sub(begin)), append(ours, time.Since(middle))
	}
	b.ReportMetric(median(bare), "fsync-p50-µs")
	b.ReportMetric(median(ours), "commit-p50-µs")
	b.ReportMetric(median(ours)-median(bare), "added-p50-µs")
}

func BenchmarkClients64(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	var next atomic.Int64
	var wg sync.WaitGroup
	begin, used := time.Now(), cpu()
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				key := fmt.Sprintf("/registry/pods/default/%d", n)
				if _, err := s.Commit(context.Background(), store.Txn{
					Guards: []store.Guard{{Key: key}}, Ops: []store.Op{{Key: key, Value: value}},
				}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "commits/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N), "cpu-µs/commit")
}

func fill(b *testing.B, s *Store, n int) {
	for i := 0; i < n; {
		txn := store.Txn{}
		for range 100 {
			txn.Ops = append(txn.Ops, store.Op{Key: fmt.Sprintf("/registry/pods/default/%06d", i), Value: value})
			i++
		}
		if _, err := s.Commit(context.Background(), txn); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRange5000(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	fill(b, s, 5000)
	fill(b, s, 5000) // a second version of each
	used := cpu()
	for b.Loop() {
		if n := len(mustRange(b, s).KVs); n != 5000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N), "cpu-µs/range")
}

func mustRange(b *testing.B, s *Store) store.RangeResult {
	res, err := s.Range(context.Background(), store.Range{Start: "/registry/pods/", End: "/registry/pods0"})
	if err != nil {
		b.Fatal(err)
	}
	return res
}

// BenchmarkWatchFanOut has 500 watchers follow one prefix while 64 clients write.
func BenchmarkWatchFanOut(b *testing.B) {
	const watchers = 500
	s := open(b, b.TempDir(), Options{})
	last := s.Revision() + int64(b.N)
	var wg, writers sync.WaitGroup
	for range watchers {
		w, err := s.Watch(context.Background(), store.Watch{Start: "/registry/", End: "/registry0", Quiet: true})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for seen := int64(0); seen < last; {
				batch, err := w.Next(context.Background())
				if err != nil {
					b.Error(err)
					return
				}
				seen = batch.Revision
			}
		})
	}
	var next atomic.Int64
	b.ResetTimer()
	used := cpu()
	for range 64 {
		writers.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("/registry/pods/%d", n%5000), Value: value}}})
			}
		})
	}
	writers.Wait()
	wg.Wait()
	b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(b.N)/watchers, "cpu-ns/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAbsent is the look-up of a key that does not exist, as each creation makes
// it, among 50,000 that were written.
func BenchmarkAbsent(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	fill(b, s, 50000)
	e := s.engine.Load()
	b.ResetTimer()
	for i := range b.N {
		if _, ok, err := e.newest(fmt.Sprintf("/registry/pods/default/%06d-x", i%50000)); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
