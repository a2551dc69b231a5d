// Package store keeps revisioned keys: the only state of a cluster. It follows
// etcd's model: one global revision that every successful transaction raises by
// one; keys that remember the revision of their creation and of their last
// change; transactions guarded by modify revisions; ranges at a revision;
// watches from a revision; compaction.
//
// Implementations are mem (tests), disk (one server) and etcd (several servers). Each passes
// store/storetest. The API server is the only user.
package store

import (
	"context"
	"errors"
	"fmt"
)

// KV is one key at one revision. Value is shared: nobody may change its bytes.
type KV struct {
	Key            string
	Value          []byte
	CreateRevision int64 // revision of the transaction that created the key
	ModRevision    int64 // revision of the transaction that last changed it
}

// Guard is a condition of a transaction: the key's last change is ModRevision;
// zero means that the key does not exist.
type Guard struct {
	Key         string
	ModRevision int64
}

// Op puts or deletes one key. A transaction touches a key at most once.
type Op struct {
	Key    string
	Value  []byte // owned by the store from now on
	Delete bool   // deleting a key that does not exist changes nothing
	// Decoded is handed to watchers of this process with the event, so that the
	// writer's own decoded object need not be decoded again. It is never stored;
	// a replayed or remote event carries nil.
	Decoded any
}

// Txn applies all Ops or none: all only if every Guard holds.
type Txn struct {
	Guards []Guard
	Ops    []Op
}

// Event is one change of one key. Events of one revision are in the order of the
// transaction's Ops.
type Event struct {
	// KV of a deletion has no Value, the deletion's ModRevision, and the
	// CreateRevision of what was deleted, or 0 where the store does not keep it.
	KV
	Deleted bool
	Decoded any // Op.Decoded, only where writer and watcher share a process
}

// Range asks for keys in [Start, End) in order. An empty End means the single
// key Start.
type Range struct {
	Start, End string
	Revision   int64 // 0: the newest
	Limit      int   // 0: no limit
	KeysOnly   bool
	CountOnly  bool
	// NoCount says that Count is of no interest: it may be any number. Reading a
	// large range page by page is dear without it.
	NoCount bool
}

// RangeResult is what a Range found.
type RangeResult struct {
	KVs      []KV
	Count    int   // all keys of the range at that revision, whatever Limit says
	More     bool  // Limit cut the answer
	Revision int64 // the revision that the answer shows
}

// Watch asks for the changes of keys in [Start, End) with a revision of at least
// From. From 0 means: only what comes after now.
//
// A From that is still to come is waited for. A From older than the compaction
// gives ErrCompacted.
type Watch struct {
	Start, End string
	From       int64
	// Quiet asks for no Batches that only carry progress: Next then returns only
	// with events. Without it, every advance of the store's revision is told.
	Quiet bool
}

// Batch is a run of events in revision order. Revision says how far the watcher
// has seen: every event up to and including it has been delivered. A Batch may
// be empty of events and only carry progress.
type Batch struct {
	Events   []Event
	Revision int64
}

// Watcher delivers Batches without gap or duplicate until its context ends or it
// fails. A slow watcher never delays a writer nor another watcher.
type Watcher interface {
	// Next blocks for the next Batch. It returns the context's error after Close
	// or cancellation, ErrCompacted if the history it needs is gone, ErrClosed
	// when the store closes.
	Next(ctx context.Context) (Batch, error)
	Close()
}

// Store is safe for concurrent use. After any method has answered, what it
// answered survives a crash of the process and of the machine (mem aside).
type Store interface {
	// Commit applies txn and returns its revision. A guard that does not hold
	// gives a *ConflictError and no revision is used. A txn that changes nothing
	// (only deletes of absent keys) returns the current revision. Once Commit has
	// answered, Revision, Range and Watch show at least its revision.
	// An error of ctx means that nothing was applied. Any other error than a
	// conflict, ErrInvalid, ErrTooLarge, ErrNoSpace and ErrClosed leaves open whether
	// txn was applied.
	Commit(ctx context.Context, txn Txn) (revision int64, err error)
	// Range reads a consistent state. A revision that has been compacted gives
	// ErrCompacted, one that is still to come ErrFuture.
	Range(ctx context.Context, r Range) (RangeResult, error)
	Watch(ctx context.Context, w Watch) (Watcher, error)
	// Revision is the newest revision that is durable and visible, as far as this
	// process knows: see Shared.
	Revision() int64
	// Compact forgets what is older than revision except the newest value of each
	// key. Ranges and watches below it then fail with ErrCompacted. Compacting
	// what is compacted already changes nothing; ErrFuture if revision is still to
	// come.
	Compact(ctx context.Context, revision int64) error
	Close() error
}

// Checked is a Store that can tell whether it takes writes.
type Checked interface {
	Store
	// Failure is why the store takes no writes until the process starts again, or nil.
	Failure() error
}

// Shared is a Store that other processes write too. Its Revision counts what this
// process has written and seen.
type Shared interface {
	Store
	// Latest asks for the newest revision as of some moment after the call: what
	// anybody's Commit had answered before has at most this revision. Watches that
	// are not Quiet will tell that they have reached it, whoever made it.
	Latest(ctx context.Context) (int64, error)
}

// Latest is the newest revision of any store.
func Latest(ctx context.Context, s Store) (int64, error) {
	if shared, ok := s.(Shared); ok {
		return shared.Latest(ctx)
	}
	return s.Revision(), nil
}

// Errors of a closed set; match with errors.Is and errors.As.
var (
	ErrCompacted = errors.New("store: the revision asked for has been compacted")
	ErrFuture    = errors.New("store: the revision asked for is in the future")
	ErrClosed    = errors.New("store: closed")
	ErrNoSpace   = errors.New("store: no space left for writing")
	ErrInvalid   = errors.New("store: invalid transaction")
	ErrTooLarge  = errors.New("store: the transaction is larger than the store takes")
	ErrInUse     = errors.New("store: the directory is in use by another process")
	// ErrReadOnly: the disk has failed to sync what was written, so that nothing
	// written there can be relied on before somebody has looked at it.
	ErrReadOnly = errors.New("store: read-only since the disk failed to sync: see to the disk, then start skiff again")
)

// ConflictError says which guard did not hold and what is there instead.
type ConflictError struct {
	Guard   Guard
	Current *KV // nil: the key does not exist
}

func (e *ConflictError) Error() string {
	if e.Current == nil {
		return fmt.Sprintf("store: %s does not exist, expected modify revision %d", e.Guard.Key, e.Guard.ModRevision)
	}
	return fmt.Sprintf("store: %s has modify revision %d, expected %d", e.Guard.Key, e.Current.ModRevision, e.Guard.ModRevision)
}

// CorruptError names a record that cannot be read back as it was written.
type CorruptError struct {
	Where string // file and position, or key
	Err   error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("store: corrupt record %s: %v", e.Where, e.Err)
}
func (e *CorruptError) Unwrap() error { return e.Err }

// PrefixEnd is the End of the range of all keys that begin with prefix.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\xff\xff\xff\xff"
}
