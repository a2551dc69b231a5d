package apiserver

import (
	"context"
	"errors"
	"fmt"

	"skiff.dev/skiff/apiserver/alloc"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/store"
)

// mendReservations makes the store's reservations of addresses and node ports those
// of its services: a store from before they were kept has none, and a hand in the
// store may have left some. Other servers may be writing meanwhile.
func (s *Server) mendReservations(ctx context.Context, services *alloc.Services, kc *cache.Kind) error {
	have := map[string]int64{}
	r := store.Range{Start: alloc.Reserved, End: store.PrefixEnd(alloc.Reserved), KeysOnly: true, Limit: 2000}
	for {
		res, err := s.opt.Store.Range(ctx, r)
		if err != nil {
			return fmt.Errorf("apiserver: read the reservations of services: %w", err)
		}
		for _, kv := range res.KVs {
			have[kv.Key] = kv.ModRevision
		}
		if r.Revision = res.Revision; !res.More || len(res.KVs) == 0 {
			break
		}
		r.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
	}
	// The services of that revision at least: each comes with its reservations.
	if err := s.cache.WaitFor(ctx, r.Revision); err != nil {
		return err
	}
	var err error
	kc.Snapshot().Ascend("", "", func(e *cache.Entry) bool {
		for key := range services.Claims(e.Object) {
			if _, ok := have[key]; ok {
				delete(have, key)
				continue
			}
			// One that somebody has made meanwhile is as good.
			err = unlessConflict(s.opt.Store.Commit(ctx, store.Txn{
				Guards: []store.Guard{{Key: key}, {Key: kc.StoreKey("", e.Key), ModRevision: e.Revision}},
				Ops:    []store.Op{{Key: key, Value: []byte(e.Key)}},
			}))
			if err != nil {
				return false
			}
		}
		return true
	})
	for key, rev := range have {
		if err != nil {
			break
		}
		err = unlessConflict(s.opt.Store.Commit(ctx, store.Txn{
			Guards: []store.Guard{{Key: key, ModRevision: rev}}, Ops: []store.Op{{Key: key, Delete: true}},
		}))
	}
	if err != nil {
		return fmt.Errorf("apiserver: mend the reservations of services: %w", err)
	}
	return nil
}

func unlessConflict(_ int64, err error) error {
	var conflict *store.ConflictError
	if errors.As(err, &conflict) {
		return nil
	}
	return err
}
