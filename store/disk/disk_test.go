package disk

import (
	"context"
	"errors"
	"testing"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/history"
	"skiff.dev/skiff/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		dir := t.TempDir()
		return func() store.Store { return open(t, dir, Options{}) }
	})
}

// TestStoreWithoutMemory has watchers read nearly everything from disk.
func TestStoreWithoutMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		dir := t.TempDir()
		o := Options{History: history.Limits{Events: 2}, CacheSize: 1}
		return func() store.Store { return open(t, dir, o) }
	})
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("error %v, want ErrInUse", err)
	}
	s.Close()
	open(t, dir, Options{})
}

// TestFirst: a new store can continue another's revisions; one that exists goes its
// own way.
func TestFirst(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	s := open(t, dir, Options{First: 1000})
	rev, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "a", Value: []byte("v")}}})
	if err != nil || rev != 1001 {
		t.Fatalf("revision %d, %v", rev, err)
	}
	s.Close()
	s = open(t, dir, Options{First: 5000})
	if s.Revision() != 1001 {
		t.Errorf("revision %d after opening again", s.Revision())
	}
	w, err := s.Watch(ctx, store.Watch{Start: "a", From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b, err := w.Next(ctx)
	if err != nil || len(b.Events) != 1 || b.Revision != 1001 {
		t.Errorf("%+v %v", b, err)
	}
	res, err := s.Range(ctx, store.Range{Start: "a", Revision: 500})
	if err != nil || res.Count != 0 {
		t.Errorf("before it began: %+v %v", res, err)
	}
}
