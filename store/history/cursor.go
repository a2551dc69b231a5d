package history

import (
	"context"

	"skiff.dev/skiff/store"
)

// Cursor is a store.Watcher: a position in the history. One goroutine at a time
// may call Next; Close may be called from any.
type Cursor struct {
	h      *History
	w      store.Watch
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}

	// next is the first revision not yet delivered. The goroutine in Next owns it,
	// except while parked is set: then the History does, under its lock.
	next   int64
	parked bool
}

// wants says whether a parked cursor is to be woken for these events.
func (c *Cursor) wants(events []store.Event) bool {
	if !c.w.Quiet {
		return true
	}
	for i := range events {
		if events[i].ModRevision >= c.next && store.Contains(c.w.Start, c.w.End, events[i].Key) {
			return true
		}
	}
	return false
}

// Next implements store.Watcher.
func (c *Cursor) Next(ctx context.Context) (store.Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return store.Batch{}, err
		}
		if err := c.ctx.Err(); err != nil {
			return store.Batch{}, err
		}
		b, ready, err := c.step(ctx)
		if err != nil {
			return store.Batch{}, err
		}
		if ready {
			c.next = b.Revision + 1
			if len(b.Events) > 0 || !c.w.Quiet {
				return b, nil
			}
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			c.unpark()
		case <-c.ctx.Done():
			c.unpark()
		case <-c.h.done:
			c.unpark()
		}
	}
}

// step reads what comes next, or parks the cursor and is not ready.
func (c *Cursor) step(ctx context.Context) (b store.Batch, ready bool, err error) {
	h := c.h
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return b, false, store.ErrClosed
	case c.next > h.last:
		c.parked = true
		h.parked = append(h.parked, c)
		h.mu.Unlock()
		return b, false, nil
	case c.next >= h.floor:
		events, last := h.since(c.next), h.last
		h.mu.Unlock()
		return c.cut(events, last), true, nil
	}
	last := h.last
	h.mu.Unlock()
	b, err = h.replay.Replay(ctx, c.w.Start, c.w.End, c.next, last, batchEvents)
	return b, err == nil, err
}

// cut picks the cursor's own events out of all of them, whole revisions only.
func (c *Cursor) cut(events []store.Event, last int64) store.Batch {
	b := store.Batch{Revision: last}
	for i := range events {
		e := &events[i]
		if (len(b.Events) >= batchEvents || i >= scanEvents) && e.ModRevision != events[i-1].ModRevision {
			b.Revision = events[i-1].ModRevision
			break
		}
		if store.Contains(c.w.Start, c.w.End, e.Key) {
			b.Events = append(b.Events, *e)
		}
	}
	return b
}

// unpark takes the cursor back from the History after a wait that ended without
// a wake, or swallows the wake that came at the same time.
func (c *Cursor) unpark() {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.parked {
		select {
		case <-c.wake:
		default:
		}
		return
	}
	c.parked = false
	for i, p := range h.parked {
		if p == c {
			end := len(h.parked) - 1
			h.parked[i], h.parked[end] = h.parked[end], nil
			h.parked = h.parked[:end]
			return
		}
	}
}

// Close implements store.Watcher.
func (c *Cursor) Close() { c.cancel() }
