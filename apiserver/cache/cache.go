// Package cache is the API server's read path. It holds every object once, as an
// immutable hub object, in one ordered copy-on-write tree a kind, with a ring of
// the kind's recent events. Lists are snapshots; a watcher is a cursor into the
// ring. The cache is fed by one goroutine from one watch of the store, in commit
// order; the writer's own object arrives with the event, so nothing is decoded
// twice.
//
// Its neighbours: package objects writes to the store and waits for the cache to
// see the write; the HTTP handlers and the in-process backend read here.
package cache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/share"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/telemetry"
)

// Root is the prefix of every key of the API server.
const Root = "/registry/"

// Cache holds all kinds. Make one with New.
type Cache struct {
	store  store.Store
	shared store.Shared // the same store, if others write it too; else nil
	tel    *telemetry.Telemetry

	kinds atomic.Pointer[map[string]*Kind] // by "group/resource"
	rev   atomic.Int64

	changing sync.Mutex // held while kinds come or go, and while all is read again

	encoded atomic.Int64 // bytes of encodings, at least those that are kept
	pieces  atomic.Int64 // the same of pieces of lists
	pressed chan struct{}

	mu      sync.Mutex
	waiters []waiter

	stop context.CancelFunc
	done chan struct{}
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// New loads all objects of the kinds from the store, for which ctx counts, and
// begins to follow it until Close, whatever becomes of ctx.
func New(ctx context.Context, s store.Store, ks []*kinds.Kind, tel *telemetry.Telemetry) (*Cache, error) {
	c := &Cache{store: s, tel: tel, done: make(chan struct{}), pressed: make(chan struct{}, 1)}
	c.shared, _ = s.(store.Shared)
	m := make(map[string]*Kind, len(ks))
	for _, k := range ks {
		if !k.Virtual {
			m[id(k)] = newKind(c, k)
		}
	}
	c.kinds.Store(&m)
	rev, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	w, err := s.Watch(run, store.Watch{Start: Root, End: store.PrefixEnd(Root), From: rev + 1})
	if err != nil {
		stop()
		return nil, fmt.Errorf("cache: watch the store: %w", err)
	}
	c.stop = stop
	go c.follow(run, w)
	return c, nil
}

// Close ends the feeding. Readers go on with what there is.
func (c *Cache) Close() {
	c.stop()
	<-c.done
}

func id(k *kinds.Kind) string { return GroupDir(k.Group) + "/" + k.Resource }

// GroupDir is a group's name in keys.
func GroupDir(group string) string {
	if group == "" {
		return "core"
	}
	return group
}

// Of finds a kind's part of the cache.
func (c *Cache) Of(k *kinds.Kind) *Kind { return (*c.kinds.Load())[id(k)] }

// OfResource finds the part of the cache that holds a stored resource.
func (c *Cache) OfResource(gr schema.GroupResource) (*Kind, bool) {
	k, ok := (*c.kinds.Load())[GroupDir(gr.Group)+"/"+gr.Resource]
	return k, ok
}

// Revision says how far the cache has followed the store.
func (c *Cache) Revision() int64 { return c.rev.Load() }

// Shared tells whether other processes write the store too.
func (c *Cache) Shared() bool { return c.shared != nil }

// Latest is a revision that holds everything that was committed before the call,
// by whomever.
func (c *Cache) Latest(ctx context.Context) (int64, error) {
	if c.shared == nil {
		return c.store.Revision(), nil
	}
	return c.shared.Latest(ctx)
}

// Fresh waits until the cache shows everything that was committed before the
// call, by whomever.
func (c *Cache) Fresh(ctx context.Context) error {
	rev, err := c.Latest(ctx)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return c.WaitFor(ctx, rev)
}

// WaitFor waits until the cache shows revision rev.
func (c *Cache) WaitFor(ctx context.Context, rev int64) error {
	if c.rev.Load() >= rev {
		return nil
	}
	w := waiter{rev: rev, done: make(chan struct{})}
	c.mu.Lock()
	if c.rev.Load() >= rev {
		c.mu.Unlock()
		return nil
	}
	c.waiters = append(c.waiters, w)
	c.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		c.forget(w)
		return ctx.Err()
	case <-c.done:
		return store.ErrClosed
	}
}

func (c *Cache) forget(w waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiters {
		if c.waiters[i].done == w.done {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			return
		}
	}
}

// advance publishes a new revision and wakes who waits for it.
func (c *Cache) advance(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev.Store(rev)
	kept := c.waiters[:0]
	for _, w := range c.waiters {
		if w.rev <= rev {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(c.waiters[len(kept):])
	c.waiters = kept
}

// split finds the kind of a store key and the key within it.
func (c *Cache) split(key string) (*Kind, string) {
	rest, ok := strings.CutPrefix(key, Root)
	if !ok {
		return nil, ""
	}
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return nil, ""
	}
	j := strings.IndexByte(rest[i+1:], '/')
	if j < 0 {
		return nil, ""
	}
	return (*c.kinds.Load())[rest[:i+1+j]], rest[i+j+2:]
}

// follow applies the store's batches until ctx ends.
func (c *Cache) follow(ctx context.Context, w store.Watcher) {
	defer func() {
		w.Close()
		close(c.done)
		for _, k := range *c.kinds.Load() {
			k.finish()
		}
	}()
	touched := make([]*Kind, 0, 8)
	for {
		b, err := w.Next(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
				return
			}
			c.tel.Log.Error("the cache lost the store's watch and reads everything again", "err", err)
			next := c.reloadUntil(ctx)
			if next == nil {
				return
			}
			w.Close()
			w = next
			continue
		}
		touched = c.apply(b, touched[:0])
		c.advance(b.Revision)
		for _, k := range touched {
			k.broadcast()
		}
	}
}

// reloadEvery is the pause between attempts to read a store that fails: an etcd that
// is away comes back.
const reloadEvery = time.Second

// reloadUntil reads everything again, however often it takes; nil when ctx has ended
// or the store was closed.
func (c *Cache) reloadUntil(ctx context.Context) store.Watcher {
	for {
		w, err := c.reload(ctx)
		if err == nil {
			return w
		}
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return nil
		}
		c.tel.Log.Error("the cache cannot read the store; it shows what it has and tries again", "err", err)
		select {
		case <-time.After(reloadEvery):
		case <-ctx.Done():
		}
	}
}

// apply puts a batch into the trees and rings. Events of one kind are applied
// under one lock, so that no reader sees half a transaction of that kind.
func (c *Cache) apply(b store.Batch, touched []*Kind) []*Kind {
	evs := b.Events
	for i := range evs {
		k, _ := c.split(evs[i].Key)
		if k == nil || containsKind(touched, k) {
			continue
		}
		touched = append(touched, k)
	}
	for _, k := range touched {
		k.mu.Lock()
		for i := range evs {
			if strings.HasPrefix(evs[i].Key, k.prefix) {
				k.applyLocked(evs[i].Key[len(k.prefix):], &evs[i])
			}
		}
		k.mu.Unlock()
	}
	return touched
}

func containsKind(ks []*Kind, k *Kind) bool {
	for _, x := range ks {
		if x == k {
			return true
		}
	}
	return false
}

// reload replaces all trees after the watch was lost. Cursors into the old rings
// expire.
func (c *Cache) reload(ctx context.Context) (store.Watcher, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	old := *c.kinds.Load()
	m := make(map[string]*Kind, len(old))
	for name, k := range old {
		m[name] = newKind(c, k.Kind)
	}
	fresh := &Cache{store: c.store, tel: c.tel}
	fresh.kinds.Store(&m)
	rev, err := fresh.load(ctx)
	if err != nil {
		return nil, err
	}
	w, err := c.store.Watch(ctx, store.Watch{Start: Root, End: store.PrefixEnd(Root), From: rev + 1})
	if err != nil {
		return nil, fmt.Errorf("cache: watch the store: %w", err)
	}
	for name, k := range old {
		k.replace(m[name], rev)
	}
	c.advance(rev)
	return w, nil
}

// Key is an object's key within its kind.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// decode reads a stored object; it shares memory with the entry like, which may be
// nil.
func (k *Kind) decode(key string, value []byte, rev int64, like *Entry) (*Entry, error) {
	obj, err := codec.DecodeStored(k.Kind, value)
	if err != nil {
		return nil, &store.CorruptError{Where: fmt.Sprintf("%s at revision %d", k.prefix+key, rev), Err: err}
	}
	if k.Restored != nil {
		if obj, err = k.Restored(obj); err != nil {
			return nil, &store.CorruptError{Where: fmt.Sprintf("%s at revision %d", k.prefix+key, rev), Err: err}
		}
	}
	if like != nil {
		obj = share.With(obj, like.Object)
	}
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	e := &Entry{Object: obj, Key: key, Revision: rev}
	e.take(k.cache)
	return e, nil
}

// Trim gives back the memory of encodings that nobody asked for since the last
// Trim, and of old events.
func (c *Cache) Trim() {
	// What is encoded meanwhile is counted on top.
	before, piecesBefore := c.encoded.Load(), c.pieces.Load()
	kept, pieces := 0, 0
	for _, k := range *c.kinds.Load() {
		n, m := k.trim()
		kept, pieces = kept+n, pieces+m
	}
	c.encoded.Add(int64(kept) - before)
	c.pieces.Add(int64(pieces) - piecesBefore)
}
