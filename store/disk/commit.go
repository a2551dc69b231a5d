package disk

import (
	"errors"
	"fmt"
	"time"

	"skiff.dev/skiff/store"
)

// committer decides all transactions, one after another, on one goroutine. At
// most one batch is being written; while it is, the next is gathered, decided
// against the effects of the first as if they were durable. No answer leaves
// before what it rests on is durable, conflicts included.
type committer struct {
	s       *Store
	engine  *engine // nil: the database has failed and could not be opened again
	next    int64   // revision of the next transaction
	compact int64   // compacted revision, including what is not durable yet
	heads   heads
	open    *batch // being gathered
	flight  *batch // being written, or nil
	sweeper *sweeper

	lastTry time.Time // of opening a failed database
}

func newCommitter(s *Store, revision int64) *committer {
	return &committer{
		s: s, engine: s.engine.Load(), next: revision + 1, compact: s.compacted.Load(),
		heads: newHeads(), open: &batch{},
	}
}

func (c *committer) loop() {
	defer close(c.s.done)
	for {
		requests := c.s.requests
		if c.open.full() {
			requests = nil
		}
		var failed chan struct{}
		var settled chan error
		if c.engine != nil {
			failed, settled = c.engine.failed, c.engine.written
		}
		select {
		case r := <-requests:
			c.take(r)
			c.gather()
		case err := <-settled:
			c.settle(err)
			c.gather()
		case <-failed:
			c.recover(c.engine.cause)
		case <-c.s.closing:
			c.finish()
			return
		}
		c.start()
	}
}

// gather takes the requests that wait already.
func (c *committer) gather() {
	for !c.open.full() {
		select {
		case r := <-c.s.requests:
			c.take(r)
		default:
			return
		}
	}
}

func (c *committer) take(r *request) {
	if r.state.CompareAndSwap(queued, taken) {
		c.plan(r)
	}
}

// plan decides a request and adds it to the open batch.
func (c *committer) plan(r *request) {
	r.writes, r.conflict, r.err, r.revision = false, nil, nil, c.next-1
	c.open.requests = append(c.open.requests, r)
	if r.err = c.room(r); r.err != nil {
		return
	}
	if r.isCompact {
		r.err = c.planCompact(r)
		return
	}
	changes, err := r.txn.Plan(c.next, c.head)
	switch {
	case errors.As(err, &r.conflict):
	case err != nil:
		r.err = err
	case len(changes) > 0:
		if r.err = c.open.add(c.engine, c.next, changes); r.err != nil {
			return
		}
		for i := range changes {
			ch := &changes[i]
			c.heads.young[ch.Key] = headEntry{exists: !ch.Deleted, Head: store.Head{CreateRevision: ch.CreateRevision, ModRevision: ch.ModRevision}}
			if ch.Deleted {
				c.heads.young[ch.Key] = headEntry{}
			}
		}
		r.writes, r.revision = true, c.next
		c.next++
	}
}

func (c *committer) planCompact(r *request) error {
	switch {
	case r.compact >= c.next:
		return store.ErrFuture
	case r.compact <= c.compact:
		return nil
	}
	v := encodeCompacted(r.compact)
	if err := c.open.set(c.engine, metaCompacted, len(v), func(dst []byte) { copy(dst, v) }); err != nil {
		return err
	}
	r.writes, c.compact, c.open.compact = true, r.compact, r.compact
	return nil
}

// head reads the newest state of a key, with the effects of all batches.
func (c *committer) head(key string) (store.Head, bool, error) {
	if e, ok := c.heads.get(key); ok {
		return e.Head, e.exists, nil
	}
	h, exists, err := c.engine.newest(key)
	if err != nil {
		return h, false, err
	}
	c.heads.young[key] = headEntry{Head: h, exists: exists}
	return h, exists, nil
}

// start writes the open batch if none is being written.
func (c *committer) start() {
	if c.flight != nil || len(c.open.requests) == 0 {
		return
	}
	b := c.open
	c.open = &batch{}
	if b.db == nil {
		answer(b.requests)
		return
	}
	c.flight = b
	c.engine.batches <- b.db
}

// settle makes what has been written visible and answers, or recovers.
func (c *committer) settle(err error) {
	if err != nil {
		c.engine.fail(err)
		c.recover(err)
		return
	}
	b := c.flight
	c.flight = nil
	b.db.Close()
	c.publish(b)
	c.heads.rotate()
}

// publish makes a durable batch visible and answers its requests.
func (c *committer) publish(b *batch) {
	if b.last > 0 {
		c.s.history.Publish(b.last, b.events)
	}
	if b.compact > 0 {
		c.s.compacted.Store(b.compact)
		c.sweeper.wake()
	}
	answer(b.requests)
}

func answer(requests []*request) {
	for _, r := range requests {
		close(r.done)
	}
}

// finish settles what is under way, refuses what waits, and stops the sweeper.
func (c *committer) finish() {
	if c.flight != nil {
		select {
		case err := <-c.engine.written:
			c.settle(err)
		case <-c.engine.failed:
			c.recover(c.engine.cause)
		}
	}
	for _, r := range c.open.requests {
		r.err, r.conflict = store.ErrClosed, nil
		close(r.done)
	}
	if c.open.db != nil {
		c.open.db.Close()
	}
	c.sweeper.stop()
}

// spaceCheck remembers what the file system said, for the length of a batch.
type spaceCheck struct {
	asked bool
	free  uint64
	err   error
}

// room says whether a request may be written at all. Without an engine it tries
// to get one.
func (c *committer) room(r *request) error {
	if err := c.s.Failure(); err != nil {
		return err
	}
	if len(r.txn.Ops) == 0 && !r.isCompact && c.engine != nil {
		return nil
	}
	sp := &c.open.space
	if !sp.asked {
		usage, err := c.s.o.fs.GetDiskUsage(c.s.dir)
		sp.asked, sp.free, sp.err = true, usage.AvailBytes, err
	}
	if sp.err != nil {
		return fmt.Errorf("store: asking for free space: %w", sp.err)
	}
	need := c.s.o.MinFree
	if onlyDeletes(r) {
		need /= 2
	}
	if sp.free < need {
		return fmt.Errorf("%w: %d MiB free, %d needed", store.ErrNoSpace, sp.free>>20, need>>20)
	}
	if c.engine == nil {
		return c.revive()
	}
	return nil
}

func onlyDeletes(r *request) bool {
	for i := range r.txn.Ops {
		if !r.txn.Ops[i].Delete {
			return false
		}
	}
	return true
}
