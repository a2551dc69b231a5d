package cache

import (
	"context"
	"fmt"

	"skiff.dev/skiff/store"
)

// SnapshotAt is the kind as it was at revision rev: the present where nothing has
// changed since, else read from the store. It fails with store.ErrCompacted when
// that is gone. The cache must have reached rev.
func (k *Kind) SnapshotAt(ctx context.Context, rev int64) (Snapshot, error) {
	s := k.snap.Load()
	if s == nil {
		s = k.freeze()
	}
	if s.Revision <= rev {
		return Snapshot{tree: s.tree, Revision: rev}, nil
	}
	tree := newTree()
	r := store.Range{Start: k.prefix, End: store.PrefixEnd(k.prefix), Revision: rev, Limit: loadPage, NoCount: true}
	for {
		res, err := k.cache.store.Range(ctx, r)
		if err != nil {
			return Snapshot{}, fmt.Errorf("cache: list at revision %d: %w", rev, err)
		}
		for i := range res.KVs {
			kv := &res.KVs[i]
			key := kv.Key[len(k.prefix):]
			e, _ := s.tree.Get(&Entry{Key: key})
			if e == nil || e.Revision != kv.ModRevision {
				if e, err = k.decode(key, kv.Value, kv.ModRevision, e); err != nil {
					return Snapshot{}, err
				}
			}
			tree.Set(e)
		}
		if !res.More || len(res.KVs) == 0 {
			return Snapshot{tree: tree, Revision: rev}, nil
		}
		r.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
	}
}
