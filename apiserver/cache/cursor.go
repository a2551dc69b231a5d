package cache

import (
	"context"
	"fmt"
)

// ExpiredError says that a cursor's place in the history is gone.
type ExpiredError struct{ Asked, Oldest int64 }

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("too old resource version: %d (%d)", e.Asked, e.Oldest)
}

// Cursor is a watcher's place in a kind's ring. It costs nothing while nobody
// reads it, and is not safe for concurrent use.
type Cursor struct {
	k    *Kind
	pos  int64
	skip int64 // events up to this revision are not for this cursor
	seen int64
}

// batch is how many events one Next hands out at most.
const batch = 512

// Watch returns a cursor after revision rev.
func (k *Kind) Watch(rev int64) (*Cursor, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if rev < k.ring.lost {
		return nil, &ExpiredError{Asked: rev, Oldest: k.ring.lost}
	}
	return &Cursor{k: k, pos: k.ring.after(rev), skip: rev, seen: rev}, nil
}

// WatchSnapshot returns a snapshot and a cursor that goes on where it ends.
func (k *Kind) WatchSnapshot() (Snapshot, *Cursor) {
	for {
		s := k.Snapshot()
		if c, err := k.Watch(s.Revision); err == nil {
			return s, c
		}
	}
}

// Poll returns the events since the last call without waiting, into buf. When
// there are none, wake is closed at the next one and revision says how far the
// cursor has seen the kind unchanged.
func (c *Cursor) Poll(buf []Event) (evs []Event, wake <-chan struct{}, revision int64, err error) {
	rev := c.k.cache.rev.Load() // before the ring: see Snapshot
	k := c.k
	evs = buf[:0]
	k.mu.RLock()
	for {
		if c.pos < k.ring.tail() {
			err = &ExpiredError{Asked: c.seen, Oldest: k.ring.lost}
			break
		}
		for c.pos < k.ring.head && len(evs) < batch {
			ev := &k.ring.buf[k.ring.index(c.pos)]
			c.pos++
			c.seen = ev.Revision
			if ev.Revision > c.skip {
				evs = append(evs, *ev)
			}
		}
		if len(evs) > 0 || c.pos < k.ring.head {
			break
		}
		if k.wake != nil {
			wake = k.wake
			c.seen = max(c.seen, rev)
			break
		}
		// Make the channel under the write lock, then look again.
		k.mu.RUnlock()
		k.mu.Lock()
		if k.wake == nil {
			k.wake = make(chan struct{})
		}
		k.mu.Unlock()
		k.mu.RLock()
	}
	k.mu.RUnlock()
	return evs, wake, c.seen, err
}

// Next waits for events, at least one.
func (c *Cursor) Next(ctx context.Context, buf []Event) ([]Event, error) {
	for {
		evs, wake, _, err := c.Poll(buf)
		if err != nil || len(evs) > 0 {
			return evs, err
		}
		if wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.k.gone:
			select {
			case <-c.k.cache.done:
				return nil, context.Canceled
			default:
			}
			return nil, &ExpiredError{Asked: c.seen, Oldest: c.k.cache.rev.Load()}
		case <-c.k.cache.done:
			return nil, context.Canceled
		}
	}
}

// Done is closed when the cache stops following the store, or the kind is no longer
// served.
func (c *Cursor) Done() <-chan struct{} {
	if c.k.gone != nil {
		return c.k.gone
	}
	return c.k.cache.done
}
