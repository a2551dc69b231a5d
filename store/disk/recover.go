package disk

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"skiff.dev/skiff/store"
)

// recover puts a new engine in the place of one that has failed, finds out
// whether the batch under way reached the disk, and decides the open batch
// again. Opening replays Pebble's log and syncs what it found: the revision that
// the new engine reports is durable.
//
// After a sync that failed, save for want of space, there is nothing to find out: what
// the disk shows need not be what it holds. The store is read-only then, and what was
// under way is not acknowledged, whatever became of it.
func (c *committer) recover(cause error) {
	if err := c.engine.fence.syncFailure(); err != nil {
		c.giveUp(err)
		return
	}
	c.s.o.Logger.Warn("store: a write failed; opening the database again", "err", cause)
	flight, open := c.flight, c.open
	c.flight, c.open = nil, &batch{}
	c.engine.fence.shut()
	c.engine.retire()
	c.engine = nil
	again := open.requests
	if err := c.reopen(); err != nil {
		c.s.o.Logger.Error("store: cannot write until the database opens again", "err", err)
		if flight != nil {
			refuse(flight.requests, fmt.Errorf("store: it is unknown whether this was written: %w", cause))
		}
		refuse(again, unwritten(cause))
		return
	}
	if flight != nil {
		reached := c.next > flight.last
		if flight.last == 0 { // a compaction alone
			reached = c.compact >= flight.compact
		}
		if reached {
			c.publish(flight)
		} else {
			again = append(split(flight.requests, unwritten(cause)), again...)
		}
	}
	for _, r := range again {
		c.plan(r)
	}
}

// giveUp refuses what is under way and everything from now on.
func (c *committer) giveUp(cause error) {
	err := fmt.Errorf("%w: %w", store.ErrReadOnly, cause)
	c.s.o.Logger.Error("store: the disk failed to sync what was written; from now on nothing is written",
		"directory", c.s.dir, "err", cause, "do", "see to the disk and start skiff again")
	flight, open := c.flight, c.open
	c.flight, c.open = nil, &batch{}
	c.engine.fence.shut()
	c.engine.retire()
	c.engine = nil
	c.s.dead.Store(&err)
	if flight != nil {
		refuse(flight.requests, fmt.Errorf("it is unknown whether this was written: %w", err))
	}
	refuse(open.requests, err)
}

// Failure implements store.Checked.
func (s *Store) Failure() error {
	if err := s.dead.Load(); err != nil {
		return *err
	}
	return nil
}

// split refuses the requests that wrote, and returns the others: their answers
// rested on writes that did not happen.
func split(requests []*request, err error) (others []*request) {
	for _, r := range requests {
		if r.writes {
			refuse([]*request{r}, err)
		} else {
			others = append(others, r)
		}
	}
	return others
}

func refuse(requests []*request, err error) {
	for _, r := range requests {
		r.err, r.conflict = err, nil
		close(r.done)
	}
}

// unwritten is the error of a request that has certainly not been applied.
func unwritten(cause error) error {
	if noSpace(cause) {
		return fmt.Errorf("%w: %w", store.ErrNoSpace, cause)
	}
	return fmt.Errorf("store: not written: %w", cause)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// revive tries to get an engine after an attempt has failed, not too often.
func (c *committer) revive() error {
	if time.Since(c.lastTry) < c.s.o.retryAfter {
		return fmt.Errorf("%w: the database has failed and opens again when the disk allows", store.ErrNoSpace)
	}
	if err := c.reopen(); err != nil {
		return unwritten(err)
	}
	c.s.history.Reset(c.next - 1)
	return nil
}

func (c *committer) reopen() error {
	c.lastTry = time.Now()
	c.heads = newHeads()
	e, revision, compacted, err := openEngine(c.s.database(), c.s.o)
	if err != nil {
		return err
	}
	c.engine, c.next, c.compact = e, revision+1, compacted
	c.s.engine.Store(e)
	c.s.compacted.Store(compacted)
	c.startSweeper(e)
	return nil
}
