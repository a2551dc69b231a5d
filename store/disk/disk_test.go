package disk

import (
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
