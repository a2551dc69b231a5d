package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"skiff.dev/skiff/store"
)

// errEnough ends a scan of which nobody wants to know more.
var errEnough = errors.New("store: enough")

// nearby is how many neighbours are stepped over before a seek is cheaper.
const nearby = 4

// acquire gives a reader the newest visible revision and an engine that holds
// it. The reader must call release.
func (s *Store) acquire(ctx context.Context) (e *engine, newest int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return nil, 0, store.ErrClosed
	}
	// In this order: an engine that has been replaced meanwhile still holds what
	// was visible before.
	newest = s.history.Revision()
	return s.engine.Load(), newest, nil
}

func (s *Store) release() { s.life.RUnlock() }

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, r store.Range) (store.RangeResult, error) {
	e, newest, err := s.acquire(ctx)
	if err != nil {
		return store.RangeResult{}, err
	}
	defer s.release()
	if r.Revision > newest {
		return store.RangeResult{}, store.ErrFuture
	}
	res := store.RangeResult{Revision: r.Revision}
	if r.Revision == 0 {
		res.Revision = newest
	}
	it, err := e.db.NewIter(rangeBounds(r.Start, r.End))
	if err != nil {
		return store.RangeResult{}, classify("range", err)
	}
	defer it.Close()
	// The iterator shows the database as it was before this check: what is not
	// compacted now had not been deleted then.
	for compacted := s.compacted.Load(); res.Revision < compacted; compacted = s.compacted.Load() {
		if r.Revision != 0 {
			return store.RangeResult{}, store.ErrCompacted
		}
		// The newest revision was overtaken by writes and a compaction.
		res.Revision = compacted
		it.Close()
		if it, err = s.engine.Load().db.NewIter(rangeBounds(r.Start, r.End)); err != nil {
			return store.RangeResult{}, classify("range", err)
		}
	}
	c := collector{ctx: ctx, r: r, res: &res}
	if err := scan(it, res.Revision, c.add); err != nil && err != errEnough {
		return store.RangeResult{}, err
	}
	return res, nil
}

func rangeBounds(start, end string) *pebble.IterOptions {
	if end == "" {
		lower := versionPrefix(nil, start)
		upper := bytes.Clone(lower)
		upper[len(upper)-1]++
		return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
	}
	if end < start {
		end = start
	}
	return &pebble.IterOptions{
		LowerBound: escape([]byte{versionSpace}, start),
		UpperBound: escape([]byte{versionSpace}, end),
	}
}

// scan calls add for the newest version not after revision of every key that
// exists then, in the order of keys. Value bytes are valid until add returns.
func scan(it *pebble.Iterator, revision int64, add func(prefix []byte, revision int64, r record) error) error {
	var current []byte // the prefix of the key being read
	for valid := it.First(); valid; {
		prefix, rev, err := splitVersionKey(it.Key())
		if err != nil {
			return corrupt(it.Key(), err)
		}
		current = append(current[:0], prefix...)
		if rev > revision {
			valid = seekWithin(it, current, ^uint64(revision))
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return classify("reading a version", err)
		}
		r, err := decodeRecord(it.Key(), value)
		if err != nil {
			return err
		}
		if !r.deleted {
			if err := add(current, rev, r); err != nil {
				return err
			}
		}
		valid = seekWithin(it, current, ^uint64(0))
	}
	if err := it.Error(); err != nil {
		return classify("reading versions", err)
	}
	return nil
}

// seekWithin moves to the first version at or after the inverted revision, or to
// the next key if there is none. The largest one always means the next key.
func seekWithin(it *pebble.Iterator, prefix []byte, inverted uint64) bool {
	for range nearby {
		if !it.Next() {
			return false
		}
		k := it.Key()
		if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+8 {
			return true
		}
		if inverted != ^uint64(0) && binary.BigEndian.Uint64(k[len(prefix):]) >= inverted {
			return true
		}
	}
	return it.SeekGE(binary.BigEndian.AppendUint64(bytes.Clone(prefix), inverted))
}

// collector makes a RangeResult of what scan finds.
type collector struct {
	ctx context.Context
	r   store.Range
	res *store.RangeResult
}

func (c *collector) add(prefix []byte, revision int64, rec record) error {
	res := c.res
	res.Count++
	if res.Count%1024 == 0 {
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	switch {
	case c.r.CountOnly:
		return nil
	case c.r.Limit > 0 && res.Count > c.r.Limit:
		res.More = true
		if c.r.NoCount {
			return errEnough
		}
		return nil
	}
	key, err := unescape(prefix)
	if err != nil {
		return corrupt(prefix, err)
	}
	kv := store.KV{Key: key, CreateRevision: rec.createRevision, ModRevision: revision}
	if !c.r.KeysOnly {
		kv.Value = append(make([]byte, 0, len(rec.value)), rec.value...)
	}
	res.KVs = append(res.KVs, kv)
	return nil
}

// newest reads the newest state of a key, also if it is not visible yet.
func (e *engine) newest(key string) (h store.Head, ok bool, err error) {
	// The last level holds nearly all keys: its filters are what spares the reads.
	it, err := e.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return h, false, classify("reading a key", err)
	}
	defer it.Close()
	if !it.SeekPrefixGE(versionPrefix(nil, key)) {
		if err := it.Error(); err != nil {
			return h, false, classify("reading a key", err)
		}
		return h, false, nil
	}
	_, rev, err := splitVersionKey(it.Key())
	if err != nil {
		return h, false, corrupt(it.Key(), err)
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return h, false, classify("reading a key", err)
	}
	r, err := decodeRecord(it.Key(), value)
	if err != nil || r.deleted {
		return h, false, err
	}
	return store.Head{CreateRevision: r.createRevision, ModRevision: rev}, true, nil
}

// Replay implements store.Replayer, for watchers behind the newest events.
func (s *Store) Replay(ctx context.Context, start, end string, from, through int64, limit int) (store.Batch, error) {
	e, _, err := s.acquire(ctx)
	if err != nil {
		return store.Batch{}, err
	}
	defer s.release()
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: changeKey(nil, from, 0), UpperBound: changeKey(nil, through+1, 0)})
	if err != nil {
		return store.Batch{}, classify("replay", err)
	}
	defer it.Close()
	// As in Range: the iterator is older than this check.
	if from < s.compacted.Load() {
		return store.Batch{}, store.ErrCompacted
	}
	versions, err := it.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{
		LowerBound: []byte{versionSpace}, UpperBound: []byte{versionSpace + 1},
	}})
	if err != nil {
		return store.Batch{}, classify("replay", err)
	}
	defer versions.Close()
	b := store.Batch{Revision: through}
	scanned, last := 0, int64(0)
	for valid := it.First(); valid; valid = it.Next() {
		rev, err := splitChangeKey(it.Key())
		if err != nil {
			return store.Batch{}, corrupt(it.Key(), err)
		}
		if rev != last && (len(b.Events) >= limit || scanned >= 16*limit) {
			b.Revision = last
			break
		}
		last = rev
		scanned++
		value, err := it.ValueAndErr()
		if err != nil {
			return store.Batch{}, classify("replay", err)
		}
		c, err := decodeChange(it.Key(), value)
		if err != nil {
			return store.Batch{}, err
		}
		if !store.Contains(start, end, c.key) {
			continue
		}
		event, err := readEvent(versions, c, rev)
		if err != nil {
			return store.Batch{}, err
		}
		b.Events = append(b.Events, event)
	}
	if err := it.Error(); err != nil {
		return store.Batch{}, classify("replay", err)
	}
	return b, nil
}

// readEvent reads the version that a change made.
func readEvent(it *pebble.Iterator, c change, revision int64) (store.Event, error) {
	dbKey := versionKey(nil, c.key, revision)
	if !it.SeekGE(dbKey) || !bytes.Equal(it.Key(), dbKey) {
		if err := it.Error(); err != nil {
			return store.Event{}, classify("replay", err)
		}
		return store.Event{}, corrupt(dbKey, errors.New("the version of a change is missing"))
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return store.Event{}, classify("replay", err)
	}
	r, err := decodeRecord(dbKey, value)
	if err != nil {
		return store.Event{}, err
	}
	e := store.Event{
		KV:      store.KV{Key: c.key, CreateRevision: r.createRevision, ModRevision: revision},
		Deleted: r.deleted,
	}
	if !r.deleted {
		e.Value = append(make([]byte, 0, len(r.value)), r.value...)
	}
	return e, nil
}
