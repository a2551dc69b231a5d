// Package etcd keeps a store in a real etcd, which several API servers may share:
// a cluster of its own, or members that run inside skiff (package member).
//
// Transactions are etcd's own (commit.go), and so are reads at a revision
// (read.go). One watch of the whole prefix feeds package history, from which all
// watchers of this process read (feed.go). Because others write too, Revision is
// only what this process knows of; Latest asks (latest.go).
//
// Values are stored as they come and keys behind a prefix, so that a store can be
// copied between here and package disk record by record. Nothing else is kept in
// etcd: no leases, no marks of the package's own.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/history"
)

// DefaultPrefix names a store in etcd if nothing else is said. A key of the store is
// prefix:key in etcd; no prefix can hold the colon, so that none begins another.
const DefaultPrefix = "skiff"

// Options say which etcd and how to reach it.
type Options struct {
	// Endpoints are host:port of the members.
	Endpoints []string
	// TLS, where not nil, makes the connections https.
	TLS *tls.Config
	// Prefix tells stores in one etcd apart. Default DefaultPrefix.
	Prefix string
	// Client, where not nil, is used instead of Endpoints and TLS: a member in this
	// process. The store closes it.
	Client *clientv3.Client
	// Timeout bounds a request to etcd and the wait for the first answer. A
	// transaction that has not been answered by then may have been applied. Default
	// 10 s.
	Timeout time.Duration
	// History bounds the newest events kept in memory for watchers.
	History history.Limits
	// Logger is told of lost connections. Default slog.Default.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	o.Prefix = strings.ReplaceAll(o.Prefix, ":", "-") + ":"
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Store implements store.Shared.
type Store struct {
	o       Options
	client  *clientv3.Client
	history *history.History // written by the feed alone
	known   atomic.Int64     // newest revision that any answer told
	latest  latest
	chase   chase

	run  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // the feed and the chase

	life   sync.RWMutex // calls share it; Close takes it to wait for them
	closed bool
}

// Open connects to etcd and begins to follow it. ctx bounds the opening alone.
func Open(ctx context.Context, o Options) (*Store, error) {
	o.setDefaults()
	client := o.Client
	if client == nil {
		var err error
		client, err = clientv3.New(clientv3.Config{
			Endpoints: o.Endpoints, TLS: o.TLS, Logger: zap.NewNop(),
			// A connection that died without a word is noticed.
			DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second, PermitWithoutStream: true,
		})
		if err != nil {
			return nil, fmt.Errorf("store: etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
		}
	}
	s := &Store{o: o, client: client}
	s.run, s.stop = context.WithCancel(context.Background())
	rev, err := s.ask(ctx)
	if err != nil {
		s.stop()
		_ = client.Close() // nothing was written through it
		if len(o.Endpoints) > 0 {
			err = fmt.Errorf("etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
		}
		return nil, err
	}
	s.history = history.New(rev, s, o.History)
	s.latest.ask = s.ask
	s.chase = newChase()
	s.work.Go(s.feed)
	s.work.Go(s.pursue)
	return s, nil
}

func (s *Store) key(k string) string { return s.o.Prefix + k }

// end is the end of a range in etcd; "" for a single key.
func (s *Store) end(k string) string {
	if k == "" {
		return ""
	}
	return s.o.Prefix + k
}

// learn notes a revision that an answer told.
func (s *Store) learn(rev int64) {
	for {
		known := s.known.Load()
		if rev <= known || s.known.CompareAndSwap(known, rev) {
			return
		}
	}
}

// Revision implements store.Store: the newest revision that this process has heard
// of. Others may have written since; see Latest.
func (s *Store) Revision() int64 { return s.known.Load() }

// enter begins a call, which must leave.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// Close implements store.Store. It waits for the calls under way.
func (s *Store) Close() error {
	s.life.Lock()
	if s.closed {
		s.life.Unlock()
		return nil
	}
	s.closed = true
	s.life.Unlock()
	s.stop()
	s.history.Close()
	s.work.Wait()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("store: close the connection to etcd: %w", err)
	}
	return nil
}
