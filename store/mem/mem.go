// Package mem keeps a store in memory, for tests. It has the complete semantics
// of store.Store except that nothing outlives the process; disk is its durable
// sibling, history carries the watches of both.
package mem

import (
	"context"
	"sort"
	"sync"

	"github.com/tidwall/btree"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/history"
)

// Store implements store.Store.
type Store struct {
	history *history.History

	mu        sync.RWMutex
	closed    bool
	revision  int64
	compacted int64
	keys      btree.Map[string, []version] // versions oldest first, never empty
	log       []store.Event                // every event since the compaction
}

type version struct {
	kv      store.KV
	deleted bool
}

// New returns an empty store.
func New() *Store {
	s := &Store{revision: store.FirstRevision}
	s.history = history.New(s.revision, s, history.Limits{})
	return s
}

// Reopen closes the store and returns one with the same contents, as a restart
// of a durable store would give; it exists so that tests can restart.
func (s *Store) Reopen() *Store {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &Store{revision: s.revision, compacted: s.compacted, keys: *s.keys.Copy()}
	n.log = make([]store.Event, len(s.log))
	for i, e := range s.log {
		e.Decoded = nil
		n.log[i] = e
	}
	n.history = history.New(n.revision, n, history.Limits{})
	return n
}

// at is the newest version not after revision.
func at(versions []version, revision int64) (version, bool) {
	i := sort.Search(len(versions), func(i int) bool { return versions[i].kv.ModRevision > revision })
	if i == 0 || versions[i-1].deleted {
		return version{}, false
	}
	return versions[i-1], true
}

func (s *Store) head(key string) (store.Head, bool, error) {
	vs, _ := s.keys.Get(key)
	v, ok := at(vs, s.revision)
	return store.Head{CreateRevision: v.kv.CreateRevision, ModRevision: v.kv.ModRevision}, ok, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, store.ErrClosed
	}
	changes, err := txn.Plan(s.revision+1, s.head)
	if err != nil {
		if conflict, ok := err.(*store.ConflictError); ok {
			vs, _ := s.keys.Get(conflict.Guard.Key)
			if v, ok := at(vs, s.revision); ok {
				conflict.Current = &v.kv
			}
		}
		return 0, err
	}
	if len(changes) == 0 {
		return s.revision, nil
	}
	s.revision++
	events := make([]store.Event, len(changes))
	for i, c := range changes {
		events[i] = c.Event
		vs, _ := s.keys.Get(c.Key)
		s.keys.Set(c.Key, append(vs[:len(vs):len(vs)], version{kv: c.KV, deleted: c.Deleted}))
		e := c.Event
		e.Decoded = nil
		s.log = append(s.log, e)
	}
	s.history.Publish(s.revision, events)
	return s.revision, nil
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, r store.Range) (store.RangeResult, error) {
	if err := ctx.Err(); err != nil {
		return store.RangeResult{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	res := store.RangeResult{Revision: r.Revision}
	switch {
	case s.closed:
		return store.RangeResult{}, store.ErrClosed
	case r.Revision == 0:
		res.Revision = s.revision
	case r.Revision > s.revision:
		return store.RangeResult{}, store.ErrFuture
	case r.Revision < s.compacted:
		return store.RangeResult{}, store.ErrCompacted
	}
	s.keys.Ascend(r.Start, func(key string, vs []version) bool {
		if !store.Contains(r.Start, r.End, key) {
			return false
		}
		v, ok := at(vs, res.Revision)
		if !ok {
			return true
		}
		res.Count++
		switch {
		case r.CountOnly:
		case r.Limit > 0 && res.Count > r.Limit:
			res.More = true
			return !r.NoCount
		default:
			if r.KeysOnly {
				v.kv.Value = nil
			}
			res.KVs = append(res.KVs, v.kv)
		}
		return true
	})
	return res, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if w.From != 0 && w.From < s.compacted && !s.closed {
		return nil, store.ErrCompacted
	}
	c, err := s.history.Watch(ctx, w)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Replay implements store.Replayer, for watchers behind the newest events.
func (s *Store) Replay(ctx context.Context, start, end string, from, through int64, limit int) (store.Batch, error) {
	if err := ctx.Err(); err != nil {
		return store.Batch{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from < s.compacted {
		return store.Batch{}, store.ErrCompacted
	}
	b := store.Batch{Revision: through}
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].ModRevision >= from })
	for ; i < len(s.log) && s.log[i].ModRevision <= through; i++ {
		if len(b.Events) >= limit && s.log[i].ModRevision != s.log[i-1].ModRevision {
			b.Revision = s.log[i-1].ModRevision
			break
		}
		if store.Contains(start, end, s.log[i].Key) {
			b.Events = append(b.Events, s.log[i])
		}
	}
	return b, nil
}

// Revision implements store.Store.
func (s *Store) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return store.ErrClosed
	case revision > s.revision:
		return store.ErrFuture
	case revision <= s.compacted:
		return nil
	}
	s.compacted = revision
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].ModRevision >= revision })
	s.log = append([]store.Event(nil), s.log[i:]...)
	kept := btree.Map[string, []version]{}
	s.keys.Scan(func(key string, vs []version) bool {
		i := sort.Search(len(vs), func(i int) bool { return vs[i].kv.ModRevision > revision })
		if i > 0 && !vs[i-1].deleted {
			i--
		}
		if i < len(vs) {
			kept.Load(key, append([]version(nil), vs[i:]...))
		}
		return true
	})
	s.keys = kept
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.history.Close()
	return nil
}
