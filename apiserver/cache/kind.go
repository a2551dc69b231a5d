package cache

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"skiff.dev/skiff/apiserver/share"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
)

// shareFrom is how many objects a kind has before what is written shares memory
// with what is there: of fewer, the walk costs more than the memory is worth.
const shareFrom = 1024

// Kind is one kind's objects and recent events.
type Kind struct {
	*kinds.Kind
	cache  *Cache
	prefix string // of its keys in the store

	mu   sync.RWMutex
	tree *btree.BTreeG[*Entry]
	last int64 // revision of the newest event
	read int64 // revision at which the kind was read from the store
	ring ring
	wake chan struct{} // closed at the next event; nil when nobody waits
	feed []func(kinds.Event)
	// gone is closed when the kind is no longer served; nil for those that stay.
	gone     chan struct{}
	goneOnce sync.Once

	labels   []*labelIndex
	indexing atomic.Bool

	snap  atomic.Pointer[Snapshot] // of the tree as it is; nil after a change
	count atomic.Int64             // objects in the tree
}

func newKind(c *Cache, k *kinds.Kind) *Kind {
	return &Kind{Kind: k, cache: c, prefix: Root + id(k) + "/", tree: newTree()}
}

func newTree() *btree.BTreeG[*Entry] {
	return btree.NewBTreeGOptions(func(a, b *Entry) bool { return a.Key < b.Key }, btree.Options{NoLocks: true, Degree: 16})
}

// StoreKey is an object's key in the store.
func (k *Kind) StoreKey(namespace, name string) string { return k.prefix + Key(namespace, name) }

// Get finds an object; nil if there is none. It shows what the cache has: call
// Cache.Fresh first where the answer must show all finished writes.
func (k *Kind) Get(namespace, name string) *Entry {
	probe := Entry{Key: Key(namespace, name)}
	k.mu.RLock()
	e, _ := k.tree.Get(&probe)
	k.mu.RUnlock()
	return e
}

// Last is the revision of the kind's newest event.
func (k *Kind) Last() int64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.last
}

// Snapshot is the state of a kind at one revision. It never changes.
type Snapshot struct {
	tree   *btree.BTreeG[*Entry]
	labels []*labelIndex
	// Revision is that of the newest event in the snapshot, or a later one at which
	// the kind is known to be unchanged.
	Revision int64
}

// Snapshot returns the kind as it is now.
func (k *Kind) Snapshot() Snapshot {
	rev := k.cache.rev.Load() // before the tree: all events up to rev are in it
	s := k.snap.Load()
	if s == nil {
		s = k.freeze()
	}
	return Snapshot{tree: s.tree, labels: s.labels, Revision: max(rev, s.Revision)}
}

func (k *Kind) freeze() *Snapshot {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.snap.Load(); s != nil {
		return s
	}
	s := &Snapshot{tree: k.tree.Copy(), labels: k.copyLabels(), Revision: k.last}
	k.snap.Store(s)
	return s
}

// Len is the number of objects.
func (s Snapshot) Len() int { return s.tree.Len() }

// Ascend calls f for the entries of namespace ("" for all) in the order of their
// keys, beginning after the key after ("" for the first), until f returns false.
func (s Snapshot) Ascend(namespace, after string, f func(*Entry) bool) {
	s.AscendMarked(namespace, after, 0, f)
}

// AscendMarked is Ascend for the entries alone that may have labels with all these
// marks. Of the others only one word is looked at: most of their memory is far away.
func (s Snapshot) AscendMarked(namespace, after string, marks uint64, f func(*Entry) bool) {
	prefix, start := bounds(namespace, after)
	passed := 0
	visit := func(e *Entry) bool {
		if !e.MayHave(marks) {
			// The end of the namespace is noticed soon enough.
			passed++
			return passed%64 != 0 || strings.HasPrefix(e.Key, prefix)
		}
		if prefix != "" && !strings.HasPrefix(e.Key, prefix) {
			return false
		}
		return f(e)
	}
	if start == "" {
		s.tree.Scan(visit)
		return
	}
	s.tree.Ascend(&Entry{Key: start}, visit)
}

// bounds are what the keys of a namespace begin with, and where to begin among them.
func bounds(namespace, after string) (prefix, start string) {
	if namespace != "" {
		prefix = namespace + "/"
	}
	start = prefix
	if after >= start && after != "" {
		start = after + "\x00"
	}
	return prefix, start
}

// Get finds an object in the snapshot.
func (s Snapshot) Get(namespace, name string) *Entry {
	e, _ := s.tree.Get(&Entry{Key: Key(namespace, name)})
	return e
}

// Thin returns an object equal to obj, which is about to be written under key, that
// uses the memory of the version it replaces or, if it is new, of its neighbour: the
// pods of one ReplicaSet, or two reports of one node, differ in little. In a small
// kind it is obj itself.
func (k *Kind) Thin(key string, obj kinds.Object, old *Entry) kinds.Object {
	if k.count.Load() < shareFrom {
		return obj
	}
	if old == nil {
		if old = k.neighbour(key); old == nil {
			return obj
		}
	}
	return share.With(obj, old.Object)
}

// neighbour is the entry before key.
func (k *Kind) neighbour(key string) (found *Entry) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	k.tree.Descend(&Entry{Key: key}, func(e *Entry) bool {
		found = e
		return e.Key == key
	})
	return found
}

// settle ends the load at rev.
func (k *Kind) settle(rev int64) {
	k.last, k.read = rev, rev
	k.count.Store(int64(k.tree.Len()))
	k.ring.lost = rev
}

// applyLocked takes one event of the store in. It owns the writer's Entry, which
// nobody else has seen yet.
func (k *Kind) applyLocked(key string, ev *store.Event) {
	if ev.ModRevision <= k.read {
		return // it was there when the kind was read
	}
	old, _ := k.tree.Get(&Entry{Key: key})
	var next *Entry
	switch {
	case ev.Deleted:
		if old == nil {
			return
		}
		k.tree.Delete(old)
		gone := codec.Shallow(old.Object)
		gone.SetResourceVersion(strconv.FormatInt(ev.ModRevision, 10))
		k.ring.add(Event{Old: old, Gone: &Entry{Object: gone, Key: key, Revision: ev.ModRevision}, Revision: ev.ModRevision})
		k.tell(old, nil, ev.ModRevision)
	default:
		if e, ok := ev.Decoded.(*Entry); ok {
			e.Key, e.Revision = key, ev.ModRevision
			e.Object.SetResourceVersion(strconv.FormatInt(ev.ModRevision, 10))
			e.take(k.cache)
			next = e
		} else {
			var err error
			if next, err = k.decode(key, ev.Value, ev.ModRevision, old); err != nil {
				k.cache.tel.Log.Error("an object of the store cannot be read", "key", ev.Key, "err", err)
				return
			}
		}
		k.tree.Set(next)
		k.ring.add(Event{Old: old, New: next, Revision: ev.ModRevision})
		k.tell(old, next, ev.ModRevision)
	}
	for _, x := range k.labels {
		x.change(old, next)
	}
	k.last = ev.ModRevision
	k.snap.Store(nil)
	k.count.Store(int64(k.tree.Len()))
}

// tell hands a change to those who follow the kind in step.
func (k *Kind) tell(old, next *Entry, rev int64) {
	for _, f := range k.feed {
		ev := kinds.Event{Revision: rev}
		if old != nil {
			ev.Old = old.Object
		}
		if next != nil {
			ev.New = next.Object
		}
		f(ev)
	}
}

// Feed calls f with every object as it is now, as creations, and then with every
// change in commit order, before the change is visible as a revision: what f keeps
// is never behind what a finished write promised. f must be quick and not call the
// cache. Call it before the first write.
func (k *Kind) Feed(f func(kinds.Event)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tree.Scan(func(e *Entry) bool {
		f(kinds.Event{New: e.Object, Revision: e.Revision})
		return true
	})
	k.feed = append(k.feed, f)
}

// broadcast wakes the cursors that wait.
func (k *Kind) broadcast() {
	k.mu.Lock()
	if k.wake != nil {
		close(k.wake)
		k.wake = nil
	}
	k.mu.Unlock()
}

// retell tells the feeds how a fresh load differs.
func (k *Kind) retell(fresh *btree.BTreeG[*Entry], rev int64) {
	if len(k.feed) == 0 {
		return
	}
	k.tree.Scan(func(e *Entry) bool {
		if _, ok := fresh.Get(e); !ok {
			k.tell(e, nil, rev)
		}
		return true
	})
	fresh.Scan(func(e *Entry) bool {
		old, _ := k.tree.Get(e)
		if old == nil || old.Revision != e.Revision {
			k.tell(old, e, e.Revision)
		}
		return true
	})
}

// replace takes over the tree of a fresh load; the ring's history is lost.
func (k *Kind) replace(fresh *Kind, rev int64) {
	k.mu.Lock()
	k.retell(fresh.tree, rev)
	k.tree, k.labels = fresh.tree, nil
	k.count.Store(int64(k.tree.Len()))
	k.last = rev
	k.ring.reset(rev)
	k.snap.Store(nil)
	k.mu.Unlock()
	k.broadcast()
}

func (k *Kind) trim() (kept, pieces int) {
	k.mu.Lock()
	k.ring.trim()
	k.trimLabels()
	old := k.ring.replaced()
	k.mu.Unlock()
	trim := func(e *Entry) bool {
		n, m := e.Trim()
		kept, pieces = kept+n, pieces+m
		return true
	}
	for _, e := range old {
		trim(e)
	}
	k.Snapshot().Ascend("", "", trim)
	return kept, pieces
}
