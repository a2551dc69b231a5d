// Package sealed encrypts the values of some keys of a store, so that what lies on
// a disk or travels to etcd is not readable without the cluster's keys. It wraps any
// store.Store; values of other keys pass untouched.
//
// A Policy says which cipher a key's values have. Ring is the one of every cluster:
// random keys in a file, changed by Rotate while the store is in use. Chain is
// Kubernetes' list of providers. Both authenticate the key with its value, so that a
// sealed value in another's place is found out (aescbc and secretbox aside, which
// are kept for what Kubernetes has written).
package sealed

import (
	"context"
	"errors"

	"skiff.dev/skiff/store"
)

// Cipher seals values. It is safe for concurrent use.
type Cipher interface {
	// Seal returns what is stored for a value of key.
	Seal(key string, plain []byte) ([]byte, error)
	// Open returns the value that was sealed. stale tells that Seal would make
	// something else now: by another key, or nothing had been sealed.
	Open(key string, stored []byte) (plain []byte, stale bool, err error)
}

// Policy finds the cipher of a key's values; nil: they are stored as they are.
type Policy func(key string) Cipher

// Fence makes sure that no value is sealed by a key that another process has just
// retired: Guard joins every transaction that seals, and Lost is called when it did
// not hold, before the transaction is sealed anew.
type Fence interface {
	Guard() store.Guard
	Lost(ctx context.Context, inner store.Store) error
}

// Store implements store.Store over another.
type Store struct {
	inner  store.Store
	policy Policy
	fence  Fence
}

// shared is a Store over one that others write too.
type shared struct {
	*Store
	inner store.Shared
}

func (s shared) Latest(ctx context.Context) (int64, error) { return s.inner.Latest(ctx) }

// Wrap seals values of inner, which it closes with itself. fence may be nil. The
// result is a store.Shared if inner is.
func Wrap(inner store.Store, policy Policy, fence Fence) store.Store {
	s := &Store{inner: inner, policy: policy, fence: fence}
	if sh, ok := inner.(store.Shared); ok {
		return shared{s, sh}
	}
	return s
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if !s.seals(&txn) {
		rev, err := s.inner.Commit(ctx, txn)
		return rev, s.openConflict(err)
	}
	for {
		out, err := s.seal(txn)
		if err != nil {
			return 0, err
		}
		rev, err := s.inner.Commit(ctx, out)
		var conflict *store.ConflictError
		if s.fence != nil && errors.As(err, &conflict) && conflict.Guard.Key == s.fence.Guard().Key {
			if err := s.fence.Lost(ctx, s.inner); err != nil {
				return 0, err
			}
			continue
		}
		return rev, s.openConflict(err)
	}
}

// seals tells whether a transaction has anything to seal.
func (s *Store) seals(txn *store.Txn) bool {
	for i := range txn.Ops {
		if op := &txn.Ops[i]; !op.Delete && s.policy(op.Key) != nil {
			return true
		}
	}
	return false
}

func (s *Store) seal(txn store.Txn) (store.Txn, error) {
	out := store.Txn{Guards: txn.Guards, Ops: append([]store.Op(nil), txn.Ops...)}
	if s.fence != nil {
		out.Guards = append(txn.Guards[:len(txn.Guards):len(txn.Guards)], s.fence.Guard())
	}
	for i := range out.Ops {
		op := &out.Ops[i]
		c := s.policy(op.Key)
		if c == nil || op.Delete {
			continue
		}
		value, err := c.Seal(op.Key, op.Value)
		if err != nil {
			return out, err
		}
		op.Value = value
	}
	return out, nil
}

// openConflict opens the value that a conflict shows.
func (s *Store) openConflict(err error) error {
	var conflict *store.ConflictError
	if errors.As(err, &conflict) && conflict.Current != nil {
		if err := s.open(conflict.Current); err != nil {
			return err
		}
	}
	return err
}

// open replaces a record's value by what was sealed.
func (s *Store) open(kv *store.KV) error {
	c := s.policy(kv.Key)
	if c == nil {
		return nil
	}
	plain, _, err := c.Open(kv.Key, kv.Value)
	if err != nil {
		return &store.CorruptError{Where: kv.Key, Err: err}
	}
	kv.Value = plain
	return nil
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, r store.Range) (store.RangeResult, error) {
	res, err := s.inner.Range(ctx, r)
	if err != nil || r.KeysOnly {
		return res, err
	}
	for i := range res.KVs {
		if err := s.open(&res.KVs[i]); err != nil {
			return store.RangeResult{}, err
		}
	}
	return res, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	inner, err := s.inner.Watch(ctx, w)
	if err != nil {
		return nil, err
	}
	return &watcher{s, inner}, nil
}

type watcher struct {
	s *Store
	store.Watcher
}

// Next implements store.Watcher. A value that cannot be opened ends the watch.
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	b, err := w.Watcher.Next(ctx)
	if err != nil {
		return b, err
	}
	for i := range b.Events {
		if e := &b.Events[i]; !e.Deleted {
			if err := w.s.open(&e.KV); err != nil {
				return store.Batch{}, err
			}
		}
	}
	return b, nil
}

// Revision implements store.Store.
func (s *Store) Revision() int64 { return s.inner.Revision() }

// Failure implements store.Checked.
func (s *Store) Failure() error {
	if c, ok := s.inner.(store.Checked); ok {
		return c.Failure()
	}
	return nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	return s.inner.Compact(ctx, revision)
}

// Close implements store.Store.
func (s *Store) Close() error { return s.inner.Close() }
