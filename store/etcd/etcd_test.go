package etcd

import (
	"context"
	"log/slog"
	"testing"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/etcd/member"
	"skiff.dev/skiff/store/history"
	"skiff.dev/skiff/store/storetest"
)

// startMember runs an empty etcd on loopback.
func startMember(t testing.TB) *member.Member {
	t.Helper()
	m, err := member.Start(context.Background(), member.Options{
		Dir: t.TempDir(), Name: "a", PeerListen: "127.0.0.1:0", ClientListen: "127.0.0.1:0",
		Unsafe: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func remote(m *member.Member) Options { return Options{Endpoints: []string{m.ClientAddress()}} }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		m := startMember(t)
		return func() store.Store { return open(t, remote(m)) }
	})
}

// TestStoreInProcess has no network between.
func TestStoreInProcess(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		m := startMember(t)
		return func() store.Store { return open(t, Options{Client: m.Client()}) }
	})
}

// TestStoreWithoutMemory has watchers read nearly everything from etcd.
func TestStoreWithoutMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		m := startMember(t)
		return func() store.Store {
			o := remote(m)
			o.History = history.Limits{Events: 2}
			return open(t, o)
		}
	})
}
