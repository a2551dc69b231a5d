package sealed

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"skiff.dev/skiff/store"
)

// Rotation changes the key of a ring: a new key seals, every value is sealed again,
// the old keys are dropped. It may be killed between any two steps: Pending tells
// then that Run has something to finish. Everything can be read all the while.
//
//  1. The new key is added to the file. Only reading knows it.
//  2. The record at FenceKey names it: from this revision on nobody seals by another.
//  3. Each value that is not sealed by it is written again, guarded by its revision.
//  4. The store forgets what is older, so that nothing needs the old keys.
//  5. The old keys leave the file.
type Rotation struct {
	Ring   *Ring
	Inner  store.Store // the store below the sealing
	Ranges [][2]string // [start, end) of the keys whose values the ring seals
	// Progress, where not nil, is told how many values have been sealed again.
	Progress func(done int)
	// step, where not nil, is called after each step: tests die there.
	step func(int) error
}

// Pending tells whether an earlier rotation was not finished, or values lie in the
// store that the ring's key has not sealed.
func (r *Rotation) Pending(ctx context.Context) (bool, error) {
	if ids := r.Ring.IDs(); len(ids) > 1 || ids[0] != r.Ring.Sealing() {
		return true, nil
	}
	found := errors.New("found")
	err := r.each(ctx, func(store.KV, []byte) error { return found })
	if err == found {
		return true, nil
	}
	return false, err
}

// Run rotates, or finishes a rotation that was begun. It returns the id of the key
// that seals from now on and how many values it has sealed again.
func (r *Rotation) Run(ctx context.Context) (id string, done int, err error) {
	if r.Ring.IDs()[0] == r.Ring.Sealing() && len(r.Ring.IDs()) == 1 {
		if err := r.Ring.add(); err != nil {
			return "", 0, err
		}
	}
	done, err = r.Finish(ctx)
	return r.Ring.Sealing(), done, err
}

// Finish does what is left of a rotation; without one it seals what lies in the
// store unsealed.
func (r *Rotation) Finish(ctx context.Context) (done int, err error) {
	if err := r.did(1); err != nil {
		return 0, err
	}
	newest := r.Ring.IDs()[0]
	for r.Ring.Sealing() != newest || r.Ring.Guard().ModRevision == 0 {
		if err := r.Ring.declare(ctx, r.Inner, newest); err != nil {
			return 0, err
		}
	}
	if err := r.did(2); err != nil {
		return 0, err
	}
	revision, done, err := r.resealAll(ctx)
	if err != nil {
		return done, err
	}
	if err := r.did(3); err != nil {
		return done, err
	}
	if len(r.Ring.IDs()) == 1 {
		return done, nil
	}
	if err := r.Inner.Compact(ctx, revision); err != nil {
		return done, fmt.Errorf("forget the values sealed by the old key: %w", err)
	}
	if err := r.did(4); err != nil {
		return done, err
	}
	if err := r.Ring.keepOnly(newest); err != nil {
		return done, err
	}
	return done, r.did(5)
}

func (r *Rotation) did(step int) error {
	if r.step == nil {
		return nil
	}
	return r.step(step)
}

// resealAll seals again until a look at everything finds nothing left. revision is
// one at which that was so.
func (r *Rotation) resealAll(ctx context.Context) (revision int64, done int, err error) {
	for {
		left := 0
		err = r.each(ctx, func(kv store.KV, plain []byte) error {
			left++
			ok, err := r.reseal(ctx, kv, plain)
			if ok {
				done++
				if r.Progress != nil {
					r.Progress(done)
				}
			}
			return err
		})
		if err != nil {
			return 0, done, err
		}
		if left == 0 {
			// After the look: what lives now was seen well sealed, or is younger.
			revision, err = store.Latest(ctx, r.Inner)
			return revision, done, err
		}
	}
}

// reseal writes a value again unless somebody else has just done so.
func (r *Rotation) reseal(ctx context.Context, kv store.KV, plain []byte) (bool, error) {
	value, err := r.Ring.Seal(kv.Key, plain)
	if err != nil {
		return false, err
	}
	_, err = r.Inner.Commit(ctx, store.Txn{
		Guards: []store.Guard{{Key: kv.Key, ModRevision: kv.ModRevision}, r.Ring.Guard()},
		Ops:    []store.Op{{Key: kv.Key, Value: value}},
	})
	var conflict *store.ConflictError
	if errors.As(err, &conflict) {
		if conflict.Guard.Key == FenceKey {
			return false, errors.New("sealed: another server has begun to rotate the key")
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("seal %s again: %w", kv.Key, err)
	}
	return true, nil
}

// page is how many values are looked at at once.
const page = 500

// each calls f with the records whose value the ring would seal otherwise now.
func (r *Rotation) each(ctx context.Context, f func(kv store.KV, plain []byte) error) error {
	for _, rng := range r.Ranges {
		q := store.Range{Start: rng[0], End: rng[1], Limit: page}
		for {
			res, err := r.Inner.Range(ctx, q)
			if err != nil {
				return err
			}
			for _, kv := range res.KVs {
				plain, stale, err := r.Ring.Open(kv.Key, kv.Value)
				if err != nil {
					return &store.CorruptError{Where: kv.Key, Err: err}
				}
				if stale {
					if err := f(kv, plain); err != nil {
						return err
					}
				}
			}
			if !res.More || len(res.KVs) == 0 {
				break
			}
			q.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
		}
	}
	return nil
}

// add puts a new key before the others, in the file first.
func (r *Ring) add() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, err := r.newKey()
	if err != nil {
		return err
	}
	st := *r.state.Load()
	st.keys = append([]Key{key}, st.keys...)
	if err := r.write(st.keys); err != nil {
		return err
	}
	r.state.Store(&st)
	return nil
}

// keepOnly drops all keys but one.
func (r *Ring) keepOnly(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := *r.state.Load()
	st.keys = slices.DeleteFunc(slices.Clone(st.keys), func(k Key) bool { return k.ID != id })
	if err := r.write(st.keys); err != nil {
		return err
	}
	r.state.Store(&st)
	return nil
}
