package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"skiff.dev/skiff/store"
)

// engine is one open database. Pebble cannot go on after a failed write to its
// log or manifest: it calls Fatalf. The engine then is failed for good, its
// fence is shut and a new engine takes its place; reads of the old one go on
// until then.
type engine struct {
	db     *pebble.DB
	fence  *fence
	log    *slog.Logger
	failed chan struct{} // closed by fail

	batches chan *pebble.Batch // to write; has room for one
	written chan error         // how each write ended; has room for one
	retired sync.Once

	once  sync.Once
	cause error // set before failed is closed
}

// openEngine opens the database and reads how far it goes.
func openEngine(dir string, o Options) (_ *engine, revision, compacted int64, err error) {
	if err := checkTails(o.fs, dir, o.Logger); err != nil {
		return nil, 0, 0, err
	}
	e := &engine{
		fence: &fence{FS: o.fs}, log: o.Logger, failed: make(chan struct{}),
		batches: make(chan *pebble.Batch, 1), written: make(chan error, 1),
	}
	err = e.run(func() error {
		// Where the engine fails meanwhile, this goes on after run has returned.
		db, err := pebble.Open(dir, e.options(o))
		e.db = db
		return err
	})
	if err != nil {
		e.fence.shut()
		return nil, 0, 0, classify("opening the database", err)
	}
	if revision, compacted, err = e.extent(); err != nil {
		e.close()
		return nil, 0, 0, err
	}
	go e.write()
	return e, revision, compacted, nil
}

// memTable is how large a table of what was written lately grows before it is flushed.
const memTable = 4 << 20

// options keep an empty database small and let it grow with use: Pebble's
// memtable begins at 256 KiB and doubles up to MemTableSize, its cache fills as
// blocks are read.
func (e *engine) options(o Options) *pebble.Options {
	po := &pebble.Options{
		FS:                          e.fence,
		Comparer:                    order,
		Logger:                      pebbleLogger{e},
		FormatMajorVersion:          pebble.FormatValueSeparation,
		CacheSize:                   o.CacheSize,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               16 << 20,
		MaxOpenFiles:                256,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			BackgroundError: e.background,
			DataCorruption:  func(i pebble.DataCorruptionInfo) { o.Logger.Error("store: corrupt data", "info", i.String()) },
		},
	}
	po.Experimental.FileCacheShards = 1
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].BlockSize = 16 << 10
	}
	return po
}

// background hears of a flush or compaction that failed. Pebble tries it again
// at once and forever; if the disk refuses writes, the engine fails instead and
// a new one is opened when it accepts them.
func (e *engine) background(err error) {
	select {
	case <-e.failed:
		runtime.Goexit() // ends the attempts of a database that has been given up
	default:
	}
	e.log.Warn("store: background work failed", "err", err)
	if e.fence.failure() != nil {
		e.fail(err)
	}
}

// extent reads the newest revision and the compacted one.
func (e *engine) extent() (revision, compacted int64, err error) {
	v, closer, err := e.db.Get(metaCompacted)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return 0, 0, classify("reading the compacted revision", err)
	default:
		if len(v) == 12 && binary.BigEndian.Uint32(v) == checksum(metaCompacted, v[4:]) {
			compacted = int64(binary.BigEndian.Uint64(v[4:]))
		}
		closer.Close()
		if compacted <= 0 {
			return 0, 0, &store.CorruptError{Where: "the compacted revision", Err: errors.New("checksum does not match")}
		}
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{changeSpace}, UpperBound: []byte{changeSpace + 1}})
	if err != nil {
		return 0, 0, classify("reading the newest revision", err)
	}
	defer it.Close()
	revision = store.FirstRevision
	if it.Last() {
		if revision, err = splitChangeKey(it.Key()); err != nil {
			return 0, 0, corrupt(it.Key(), err)
		}
	}
	if err := it.Error(); err != nil {
		return 0, 0, classify("reading the newest revision", err)
	}
	return revision, compacted, nil
}

func encodeCompacted(revision int64) []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(revision))
	binary.BigEndian.PutUint32(v, checksum(metaCompacted, v[4:]))
	return v
}

// run calls f on a goroutine of its own, because Fatalf ends the goroutine that
// calls it. It returns f's error, or why the engine failed.
func (e *engine) run(f func() error) error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-e.failed:
		return e.cause
	}
}

// fail marks the engine failed; the first reason counts. A write that failed in
// the file system says more than what Pebble made of it.
func (e *engine) fail(err error) {
	e.once.Do(func() {
		if cause := e.fence.failure(); cause != nil {
			err = cause
		}
		e.cause = err
		close(e.failed)
	})
}

// write applies batches one after the other, each with a sync, on one goroutine of the
// engine's own, and tells how each ended. Fatalf ends the goroutine; e.failed says so.
func (e *engine) write() {
	for b := range e.batches {
		e.written <- e.db.Apply(b, pebble.Sync)
	}
}

// retire ends the writing goroutine, if Fatalf has not.
func (e *engine) retire() { e.retired.Do(func() { close(e.batches) }) }

// close ends the engine. A failed one cannot be closed, only cut off.
func (e *engine) close() error {
	e.retire()
	select {
	case <-e.failed:
		e.fence.shut()
		return nil
	default:
	}
	err := e.run(e.db.Close)
	e.fence.shut()
	return err
}

// classify turns Pebble's errors into the store's.
func classify(doing string, err error) error {
	if pebble.IsCorruptionError(err) {
		return &store.CorruptError{Where: doing, Err: err} // Pebble names the file
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}

type pebbleLogger struct{ e *engine }

func (l pebbleLogger) Infof(string, ...any) {}
func (l pebbleLogger) Errorf(format string, a ...any) {
	l.e.log.Error("store: " + fmt.Sprintf(format, a...))
}

// Fatalf must not return: Pebble's state is undefined after it. It ends the
// calling goroutine, which is one of Pebble's own or of run.
func (l pebbleLogger) Fatalf(format string, a ...any) {
	l.e.log.Error("store: database failed: " + fmt.Sprintf(format, a...))
	l.e.fail(fmt.Errorf(format, a...))
	runtime.Goexit()
}

var _ vfs.FS = (*fence)(nil)
