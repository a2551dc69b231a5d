package disk

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"skiff.dev/skiff/store"
)

// A request is queued until the committer takes it or its caller, whose context
// has ended, withdraws it.
const (
	queued int32 = iota
	taken
	withdrawn
)

// request is a transaction or a compaction, and its answer, which is complete
// when done is closed.
type request struct {
	txn       store.Txn
	compact   int64
	isCompact bool
	state     atomic.Int32

	revision int64 // of the answer; of a conflict, where the guard failed
	err      error
	conflict *store.ConflictError
	writes   bool // has effects in the batch
	done     chan struct{}
}

// batch is what is written and synced together. It also carries requests that
// write nothing but whose answers depend on writes that are not durable yet.
type batch struct {
	requests []*request
	events   []store.Event
	last     int64 // revision that the batch reaches
	compact  int64 // revision that it compacts, or 0
	db       *pebble.Batch
	space    spaceCheck
}

// full says that the batch shall take no more requests.
func (b *batch) full() bool {
	return len(b.requests) >= 1024 || b.db != nil && b.db.Len() >= 1<<20
}

func (b *batch) set(e *engine, key []byte, valueSize int, fill func(value []byte)) error {
	if b.db == nil {
		b.db = e.db.NewBatch()
	}
	op := b.db.SetDeferred(len(key), valueSize)
	copy(op.Key, key)
	fill(op.Value)
	if err := op.Finish(); err != nil {
		return fmt.Errorf("store: batch: %w", err)
	}
	return nil
}

// add writes the changes of one transaction.
func (b *batch) add(e *engine, revision int64, changes []store.Change) error {
	for i, c := range changes {
		r := record{deleted: c.Deleted, createRevision: c.CreateRevision, value: c.Value}
		key := versionKey(nil, c.Key, revision)
		if err := b.set(e, key, recordSize(len(c.Value)), func(dst []byte) { r.encode(dst, key) }); err != nil {
			return err
		}
		key = changeKey(nil, revision, i)
		v := change{key: c.Key, deleted: c.Deleted, replaces: c.Replaces}.encode(key)
		if err := b.set(e, key, len(v), func(dst []byte) { copy(dst, v) }); err != nil {
			return err
		}
		b.events = append(b.events, c.Event)
	}
	b.last = revision
	return nil
}

// heads remembers the newest state of keys that were touched lately, so that
// most guards need no look into the database. Until a batch is applied it is the
// only place that knows of its effects: rotate may be called at most once for
// each batch that is applied.
type heads struct{ young, old map[string]headEntry }

type headEntry struct {
	store.Head
	exists bool
}

// headsKept is how many keys a generation has before it is rotated.
const headsKept = 8192

func newHeads() heads { return heads{young: map[string]headEntry{}} }

func (h *heads) get(key string) (headEntry, bool) {
	e, ok := h.young[key]
	if !ok {
		if e, ok = h.old[key]; ok {
			h.young[key] = e
		}
	}
	return e, ok
}

func (h *heads) rotate() {
	if len(h.young) >= headsKept {
		h.young, h.old = map[string]headEntry{}, h.young
	}
}
