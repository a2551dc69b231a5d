// Package storetest holds the suite that every store.Store passes: what store.go
// promises, checked from outside, with concurrent writers, restarts and a
// linearizability check. It knows nothing of how a store works.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"skiff.dev/skiff/store"
)

// Run runs the whole suite. start begins with an empty store each time; the
// function it returns opens that store, and opens it again after it was closed.
func Run(t *testing.T, start func(t *testing.T) (open func() store.Store)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() store.Store)
	}{
		{"Empty", testEmpty},
		{"Guards", testGuards},
		{"MultiOp", testMultiOp},
		{"Invalid", testInvalid},
		{"Delete", testDelete},
		{"OldRevisions", testOldRevisions},
		{"RangeOptions", testRangeOptions},
		{"OddKeys", testOddKeys},
		{"WatchFrom", testWatchFrom},
		{"WatchNow", testWatchNow},
		{"WatchQuiet", testWatchQuiet},
		{"WatchWhileWriting", testWatchWhileWriting},
		{"WatchEnds", testWatchEnds},
		{"Compaction", testCompaction},
		{"CompactionOfSlowWatch", testCompactionOfSlowWatch},
		{"Restart", testRestart},
		{"Contexts", testContexts},
		{"Closed", testClosed},
		{"Model", testModel},
		{"Stress", testStress},
		{"Linearizable", testLinearizable},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, start(t)) })
	}
}

func begin(t *testing.T, open func() store.Store) store.Store {
	t.Helper()
	s := open()
	t.Cleanup(func() { s.Close() })
	return s
}

func put(key, value string) store.Op      { return store.Op{Key: key, Value: []byte(value)} }
func del(key string) store.Op             { return store.Op{Key: key, Delete: true} }
func ops(o ...store.Op) store.Txn         { return store.Txn{Ops: o} }
func guard(k string, r int64) store.Guard { return store.Guard{Key: k, ModRevision: r} }

func commit(t *testing.T, s store.Store, txn store.Txn) int64 {
	t.Helper()
	rev, err := s.Commit(context.Background(), txn)
	if err != nil {
		t.Fatalf("commit %v: %v", txn, err)
	}
	return rev
}

func ranged(t *testing.T, s store.Store, r store.Range) store.RangeResult {
	t.Helper()
	res, err := s.Range(context.Background(), r)
	if err != nil {
		t.Fatalf("range %+v: %v", r, err)
	}
	return res
}

// show writes keys as key=value@create/mod.
func show(kvs []store.KV) string {
	out := ""
	for _, kv := range kvs {
		out += fmt.Sprintf("%s=%s@%d/%d ", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision)
	}
	return out
}

func showEvents(events []store.Event) string {
	out := ""
	for _, e := range events {
		if e.Deleted {
			// Not all stores keep when it was created.
			out += fmt.Sprintf("-%s=%s@%d ", e.Key, e.Value, e.ModRevision)
			continue
		}
		out += "+" + show([]store.KV{e.KV})
	}
	return out
}

func wantKVs(t *testing.T, s store.Store, r store.Range, want string) {
	t.Helper()
	if got := show(ranged(t, s, r).KVs); got != want {
		t.Errorf("range %+v\n got %s\nwant %s", r, got, want)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// follow reads a watch until it has seen revision through.
func follow(t *testing.T, w store.Watcher, through int64) []store.Event {
	t.Helper()
	var all []store.Event
	for {
		b, err := w.Next(context.Background())
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		for _, e := range b.Events {
			if e.ModRevision > b.Revision {
				t.Fatalf("event of revision %d in a batch up to %d", e.ModRevision, b.Revision)
			}
		}
		all = append(all, b.Events...)
		if b.Revision >= through {
			return all
		}
	}
}

func watch(t *testing.T, s store.Store, w store.Watch) store.Watcher {
	t.Helper()
	watcher, err := s.Watch(context.Background(), w)
	if err != nil {
		t.Fatalf("watch %+v: %v", w, err)
	}
	t.Cleanup(watcher.Close)
	return watcher
}
