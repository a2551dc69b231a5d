package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"skiff.dev/skiff/store"
)

// Range implements store.Store by a linearizable read.
func (s *Store) Range(ctx context.Context, r store.Range) (store.RangeResult, error) {
	if err := s.enter(ctx); err != nil {
		return store.RangeResult{}, err
	}
	defer s.leave()
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var opts []clientv3.OpOption
	if r.End != "" {
		opts = append(opts, clientv3.WithRange(s.end(r.End)))
	}
	if r.Revision != 0 {
		opts = append(opts, clientv3.WithRev(r.Revision))
	}
	switch {
	case r.CountOnly:
		opts = append(opts, clientv3.WithCountOnly())
	case r.Limit > 0:
		opts = append(opts, clientv3.WithLimit(int64(r.Limit)))
	}
	if r.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	resp, err := s.client.Get(bounded, s.key(r.Start), opts...)
	if err != nil {
		return store.RangeResult{}, callError(ctx, "range", err)
	}
	s.learn(resp.Header.Revision)
	res := store.RangeResult{Count: int(resp.Count), More: resp.More, Revision: r.Revision}
	if r.Revision == 0 {
		res.Revision = resp.Header.Revision
	}
	if len(resp.Kvs) > 0 {
		res.KVs = make([]store.KV, len(resp.Kvs))
	}
	for i, kv := range resp.Kvs {
		res.KVs[i] = s.kv(kv)
	}
	return res, nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if _, err := s.client.Compact(bounded, revision); err != nil {
		if err := callError(ctx, "compact", err); err != store.ErrCompacted {
			return err
		}
	}
	return nil
}

// callError is the caller's own error if its context has ended.
func callError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return classify(op, err)
}
