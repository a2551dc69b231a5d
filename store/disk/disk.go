// Package disk keeps a store durably on one machine's disk. It is the default
// store of one server.
//
// Pebble, a log-structured merge tree, holds every version of every key and a
// log of the changes in the order of revisions (record.go). One goroutine
// decides all transactions, gathers those that wait while a batch is being
// synced, and answers them when it is (commit.go, batch.go). A failed write
// makes it open the database anew and find out what reached the disk
// (recover.go). Reads look at versions up to the newest durable revision
// (read.go). Watches are package history's. Old versions are deleted in the
// background after a compaction (sweep.go).
//
// doc/store.md tells the format byte for byte and why nothing acknowledged is
// lost.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/history"
)

// Options tune a store; the zero value is right for a server.
type Options struct {
	// MinFree is how many bytes the file system must have free for a write; below
	// it Commit gives ErrNoSpace. Transactions that only delete may use half of it.
	// What is below is for the database's own housekeeping. Default 32 MiB.
	MinFree uint64
	// CacheSize bounds the memory for blocks read from disk and for memtables, whose room
	// Pebble takes out of it: less than the two, one that is written to and one that is
	// flushed, leaves no block in it while there are writes. Default 4 MiB beside them.
	CacheSize int64
	// History bounds the newest events kept in memory for watchers.
	History history.Limits
	// First, where greater than store.FirstRevision, is the revision of a store that is
	// new: one that continues another's.
	First int64
	// Logger is told of failures of the disk. Default slog.Default.
	Logger *slog.Logger

	fs         vfs.FS        // for tests; default the machine's
	retryAfter time.Duration // between attempts to open a failed database; default 1 s
}

func (o *Options) setDefaults() {
	if o.MinFree == 0 {
		o.MinFree = 32 << 20
	}
	if o.CacheSize == 0 {
		o.CacheSize = 4<<20 + 2*memTable
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.fs == nil {
		o.fs = private{vfs.Default}
	}
	if o.retryAfter == 0 {
		o.retryAfter = time.Second
	}
}

// Store implements store.Store.
type Store struct {
	o    Options
	dir  string
	lock io.Closer

	history   *history.History
	engine    atomic.Pointer[engine] // written by the committer alone
	compacted atomic.Int64           // written by the committer alone
	requests  chan *request
	dead      atomic.Pointer[error] // why nothing is written any more
	closing   chan struct{}         // closed by Close
	done      chan struct{}         // closed when the committer has ended

	life   sync.RWMutex // readers share it; Close takes it to end them
	closed bool
	once   sync.Once
}

// Open opens the store in dir, or makes an empty one. ErrInUse: another process,
// or this one, has it open. A *store.CorruptError: it cannot be read back as it
// was written.
func Open(dir string, o Options) (*Store, error) {
	if o.fs == nil {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("store: open %s: %w", dir, err)
		}
		dir = abs
	}
	o.setDefaults()
	lock, err := lockDir(o.fs, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		o: o, dir: dir, lock: lock,
		requests: make(chan *request, 256),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	e, revision, compacted, err := openEngine(s.database(), o)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if revision == store.FirstRevision && compacted == 0 {
		revision = max(revision, o.First)
	}
	s.engine.Store(e)
	s.compacted.Store(compacted)
	s.history = history.New(revision, s, o.History)
	c := newCommitter(s, revision)
	c.startSweeper(e)
	go c.loop()
	return s, nil
}

func (s *Store) database() string { return s.o.fs.PathJoin(s.dir, "db") }

// makeDir makes dir and what is missing above it, each entry durable in its
// parent: a power cut must not take the directory with all that is in it.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir makes dir and takes its lock, which ends with the process.
func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	err := makeDir(fs, dir)
	if err == nil {
		// Also if dir was there: who made it may have been killed before this.
		err = syncDir(fs, fs.PathDir(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("store: make %s: %w", dir, err)
	}
	lock, err := fs.Lock(fs.PathJoin(dir, "lock"))
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "held by current process"):
		return nil, fmt.Errorf("%w: %s", store.ErrInUse, dir)
	}
	return nil, fmt.Errorf("store: lock %s: %w", dir, err)
}

// Revision implements store.Store.
func (s *Store) Revision() int64 { return s.history.Revision() }

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	if w.From != 0 && w.From < s.compacted.Load() {
		return nil, store.ErrCompacted
	}
	c, err := s.history.Watch(ctx, w)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	r := &request{txn: txn, done: make(chan struct{})}
	if err := s.submit(ctx, r); err != nil {
		return 0, err
	}
	if r.conflict != nil {
		return 0, s.explain(ctx, r)
	}
	return r.revision, r.err
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	r := &request{compact: revision, isCompact: true, done: make(chan struct{})}
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	return r.err
}

// submit hands a request to the committer and waits for its answer. An error
// means that the request was not taken.
func (s *Store) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
	}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return store.ErrClosed
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, withdrawn) {
			return ctx.Err()
		}
	case <-s.done:
	}
	select {
	case <-r.done:
		return nil
	case <-s.done:
	}
	select {
	case <-r.done: // answered just before the committer ended
		return nil
	default:
		return store.ErrClosed
	}
}

// explain fills in what was there instead, as it was when the guard failed.
func (s *Store) explain(ctx context.Context, r *request) error {
	for _, revision := range []int64{r.revision, 0} {
		res, err := s.Range(ctx, store.Range{Start: r.conflict.Guard.Key, Revision: revision})
		if errors.Is(err, store.ErrCompacted) {
			continue
		}
		if err != nil {
			return err
		}
		if len(res.KVs) > 0 {
			r.conflict.Current = &res.KVs[0]
		}
		break
	}
	return r.conflict
}

// Close implements store.Store. Transactions that the committer has taken are
// finished; the others get ErrClosed.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		<-s.done
		s.history.Close()
		s.life.Lock()
		s.closed = true
		s.life.Unlock()
		err = s.engine.Load().close()
		err = errors.Join(err, s.lock.Close())
	})
	return err
}
