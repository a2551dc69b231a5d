// Package history keeps the newest events of a store in memory and lets any
// number of watchers follow them, each with a cursor of its own. A store
// publishes here what has become visible; mem and disk share it.
//
// Nothing is copied per watcher and no writer waits for one: a watcher that
// falls behind the oldest event kept goes on from the store's own history
// (store.Replayer) and meets the ring again later. ErrCompacted reaches it only
// if the store has really compacted what it needs.
package history

import (
	"context"
	"sort"
	"sync"

	"skiff.dev/skiff/store"
)

// Limits bound what is kept in memory. Zero values mean the defaults.
type Limits struct {
	Events int // events kept at most; default 4096
	Bytes  int // bytes of values and keys kept at most; default 4 MiB
}

const (
	defaultEvents = 4096
	defaultBytes  = 4 << 20
	// batchEvents is about how many events a Batch holds at most.
	batchEvents = 1024
	// scanEvents is about how many events one Next looks through.
	scanEvents = 8192
)

// History is safe for concurrent use.
type History struct {
	replay store.Replayer
	limits Limits
	done   chan struct{} // closed by Close

	mu     sync.Mutex
	closed bool
	last   int64 // newest visible revision
	floor  int64 // events of every revision from floor to last are in events
	// events is only ever appended to or replaced, never changed in place: a
	// cursor reads a sub-slice of it without the lock.
	events []store.Event
	bytes  int
	parked []*Cursor // cursors that have seen everything and wait
}

// New makes a history of a store whose newest visible revision is last.
func New(last int64, replay store.Replayer, limits Limits) *History {
	if limits.Events <= 0 {
		limits.Events = defaultEvents
	}
	if limits.Bytes <= 0 {
		limits.Bytes = defaultBytes
	}
	return &History{replay: replay, limits: limits, done: make(chan struct{}), last: last, floor: last + 1}
}

// Revision is the newest published revision.
func (h *History) Revision() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Publish makes events visible: all events of the revisions after the newest
// published one up to revision, in order. It never waits for a watcher.
func (h *History) Publish(revision int64, events []store.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, events...)
	for i := range events {
		h.bytes += size(&events[i])
	}
	h.last = revision
	h.trim()
	still := h.parked[:0]
	for _, c := range h.parked {
		if c.next <= revision && c.wants(events) {
			c.parked = false
			c.wake <- struct{}{} // has room: a parked cursor's wake is empty
			continue
		}
		if c.next <= revision {
			c.next = revision + 1
		}
		still = append(still, c)
	}
	clear(h.parked[len(still):])
	h.parked = still
}

// Reset forgets the events in memory and goes on from revision: cursors read
// what lies between from the store's own history.
func (h *History) Reset(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision <= h.last {
		return
	}
	h.events, h.bytes, h.last, h.floor = nil, 0, revision, revision+1
	for i, c := range h.parked {
		c.parked = false
		c.wake <- struct{}{}
		h.parked[i] = nil
	}
	h.parked = h.parked[:0]
}

// Close ends every cursor with ErrClosed.
func (h *History) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.events = nil
		close(h.done)
	}
}

func size(e *store.Event) int { return len(e.Key) + len(e.Value) + 64 }

// trim drops the oldest whole revisions above the limits. The slice is replaced
// only when half of it is dropped, so a publish costs what it adds.
func (h *History) trim() {
	live := sort.Search(len(h.events), func(i int) bool { return h.events[i].ModRevision >= h.floor })
	n := live
	for n < len(h.events) && (len(h.events)-n > h.limits.Events || h.bytes > h.limits.Bytes) {
		for rev := h.events[n].ModRevision; n < len(h.events) && h.events[n].ModRevision == rev; n++ {
			h.bytes -= size(&h.events[n])
		}
	}
	if n > live {
		h.floor = h.events[n-1].ModRevision + 1
	}
	if n > len(h.events)/2 {
		h.events = append(make([]store.Event, 0, 2*(len(h.events)-n)), h.events[n:]...)
	}
}

// since is the events from a revision on that is at least floor. The caller
// holds the lock; the slice may be read without it.
func (h *History) since(revision int64) []store.Event {
	i := sort.Search(len(h.events), func(i int) bool { return h.events[i].ModRevision >= revision })
	return h.events[i:len(h.events):len(h.events)]
}

// Watch starts a cursor. The store has checked that w.From is not compacted.
func (h *History) Watch(ctx context.Context, w store.Watch) (*Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, store.ErrClosed
	}
	c := &Cursor{h: h, w: w, next: w.From, wake: make(chan struct{}, 1)}
	if w.From <= 0 {
		c.next = h.last + 1
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c, nil
}
