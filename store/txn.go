package store

import (
	"context"
	"fmt"
)

// FirstRevision is the revision of a store that nobody has written to yet, as
// etcd has it; the first transaction has the next one. Revision zero never names
// a state, so that 0 can mean "the newest" and "does not exist".
const FirstRevision = 1

// Head is what a transaction must know of the newest state of a key.
type Head struct {
	CreateRevision int64
	ModRevision    int64
}

// Change is one effect of a transaction: an event, and the modify revision of
// the value that it replaces (0: there was none).
type Change struct {
	Event
	Replaces int64
}

// Validate says whether the transaction can be applied at all: every Op has a
// key, and no key is touched twice. The error wraps ErrInvalid.
func (t *Txn) Validate() error {
	var seen map[string]struct{}
	if len(t.Ops) > 8 {
		seen = make(map[string]struct{}, len(t.Ops))
	}
	for i := range t.Ops {
		key := t.Ops[i].Key
		if key == "" {
			return fmt.Errorf("%w: an operation without a key", ErrInvalid)
		}
		if seen != nil {
			if _, dup := seen[key]; dup {
				return fmt.Errorf("%w: %s is touched twice", ErrInvalid, key)
			}
			seen[key] = struct{}{}
			continue
		}
		for j := range i {
			if t.Ops[j].Key == key {
				return fmt.Errorf("%w: %s is touched twice", ErrInvalid, key)
			}
		}
	}
	return nil
}

// Plan decides a valid transaction against the newest state, which head reads:
// what changes if it gets revision. No change and no error means that there is
// nothing to do. A guard that does not hold gives a *ConflictError whose Current
// is not filled in.
func (t *Txn) Plan(revision int64, head func(key string) (Head, bool, error)) ([]Change, error) {
	for _, g := range t.Guards {
		h, ok, err := head(g.Key)
		if err != nil {
			return nil, err
		}
		if ok != (g.ModRevision != 0) || h.ModRevision != g.ModRevision {
			return nil, &ConflictError{Guard: g}
		}
	}
	changes := make([]Change, 0, len(t.Ops))
	for _, op := range t.Ops {
		h, ok, err := head(op.Key)
		if err != nil {
			return nil, err
		}
		if op.Delete && !ok {
			continue
		}
		c := Change{
			Event: Event{
				KV:      KV{Key: op.Key, Value: op.Value, CreateRevision: h.CreateRevision, ModRevision: revision},
				Deleted: op.Delete,
				Decoded: op.Decoded,
			},
			Replaces: h.ModRevision,
		}
		switch {
		case op.Delete:
			c.Value = nil
		case !ok:
			c.CreateRevision = revision
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Contains says whether key lies in [start, end), where an empty end means the
// single key start.
func Contains(start, end, key string) bool {
	if end == "" {
		return key == start
	}
	return key >= start && key < end
}

// Replayer reads the changes of keys in [start, end) with revisions from
// through, in order, out of a store's own history. The Batch holds whole
// revisions, about limit events at most, and says with Revision how far it
// reached. ErrCompacted: from has been compacted.
type Replayer interface {
	Replay(ctx context.Context, start, end string, from, through int64, limit int) (Batch, error)
}
