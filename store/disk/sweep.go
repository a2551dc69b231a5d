package disk

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// sweepChanges is how many changes a sweep deletes in one batch.
const sweepChanges = 256

// sweeper deletes in the background what a compaction has made invisible. Each
// entry of the log of changes names the one version that it replaced, so the
// work is proportional to the changes compacted, not to the size of the store.
// It needs no record of its own progress: what is still to do is what is still
// in the log below the compacted revision.
type sweeper struct {
	e       *engine
	target  func() int64
	kick    chan struct{}
	stopped chan struct{}
	done    chan struct{}
	once    sync.Once
}

// startSweeper runs a sweeper for an engine. That of a failed engine ends by
// itself.
func (c *committer) startSweeper(e *engine) {
	s := &sweeper{
		e: e, target: c.s.compacted.Load,
		kick: make(chan struct{}, 1), stopped: make(chan struct{}), done: make(chan struct{}),
	}
	c.sweeper = s
	go s.loop()
	s.wake()
}

func (s *sweeper) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// stop waits for the batch under way.
func (s *sweeper) stop() {
	s.once.Do(func() { close(s.stopped) })
	select {
	case <-s.done:
	case <-s.e.failed:
	}
}

func (s *sweeper) loop() {
	defer close(s.done)
	for {
		select {
		case <-s.kick:
		case <-s.stopped:
			return
		case <-s.e.failed:
			return
		}
		if err := s.sweep(s.target()); err != nil {
			s.e.log.Error("store: deleting compacted versions", "err", err)
		}
	}
}

// sweep deletes all that no Range or Watch from compacted on can see: versions
// replaced at or before it, deletions before it, and the changes before it.
func (s *sweeper) sweep(compacted int64) error {
	for {
		select {
		case <-s.stopped:
			return nil
		case <-s.e.failed:
			return nil
		default:
		}
		more, err := s.step(compacted)
		if err != nil || !more {
			return err
		}
	}
}

// step deletes one batch. The last one also handles the changes of the compacted
// revision itself, which stay in the log; a sweep that finds nothing below it
// writes nothing.
func (s *sweeper) step(compacted int64) (more bool, err error) {
	it, err := s.e.db.NewIter(&pebble.IterOptions{LowerBound: changeKey(nil, 0, 0), UpperBound: changeKey(nil, compacted+1, 0)})
	if err != nil {
		return false, classify("sweep", err)
	}
	defer it.Close()
	b := s.e.db.NewBatch()
	defer b.Close()
	below := 0
	for valid := it.First(); valid; valid = it.Next() {
		revision, err := splitChangeKey(it.Key())
		if err != nil {
			return false, corrupt(it.Key(), err)
		}
		if revision < compacted && below == sweepChanges {
			more = true
			break
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return false, classify("sweep", err)
		}
		c, err := decodeChange(it.Key(), value)
		if err != nil {
			return false, err
		}
		if c.replaces != 0 {
			if err := b.Delete(versionKey(nil, c.key, c.replaces), nil); err != nil {
				return false, classify("sweep", err)
			}
		}
		if revision == compacted {
			continue
		}
		below++
		if c.deleted {
			if err := b.Delete(versionKey(nil, c.key, revision), nil); err != nil {
				return false, classify("sweep", err)
			}
		}
		if err := b.Delete(it.Key(), nil); err != nil {
			return false, classify("sweep", err)
		}
	}
	if err := it.Error(); err != nil {
		return false, classify("sweep", err)
	}
	if below == 0 {
		return false, nil
	}
	if err := s.e.db.Apply(b, pebble.NoSync); err != nil {
		return false, classify("sweep", err)
	}
	return more, nil
}
