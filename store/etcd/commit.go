package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"skiff.dev/skiff/store"
)

// Commit implements store.Store. Once sent, a transaction is waited for whatever
// becomes of ctx, as long as Options.Timeout.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Validate(); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Timeout)
	defer cancel()
	resp, err := s.client.Txn(bounded).If(s.guards(txn.Guards)...).Then(s.ops(txn.Ops)...).Else(s.reads(txn.Guards)...).Commit()
	if err != nil {
		return 0, commitError(err, &txn)
	}
	s.learn(resp.Header.Revision)
	if !resp.Succeeded {
		return 0, s.conflict(txn.Guards, resp)
	}
	return resp.Header.Revision, nil
}

func (s *Store) guards(guards []store.Guard) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(guards))
	for i, g := range guards {
		out[i] = clientv3.Compare(clientv3.ModRevision(s.key(g.Key)), "=", g.ModRevision)
	}
	return out
}

func (s *Store) ops(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i := range ops {
		if op := &ops[i]; op.Delete {
			out[i] = clientv3.OpDelete(s.key(op.Key))
		} else {
			out[i] = clientv3.OpPut(s.key(op.Key), string(op.Value))
		}
	}
	return out
}

// reads fetch what is there instead where a guard does not hold.
func (s *Store) reads(guards []store.Guard) []clientv3.Op {
	out := make([]clientv3.Op, len(guards))
	for i, g := range guards {
		out[i] = clientv3.OpGet(s.key(g.Key))
	}
	return out
}

// conflict finds the first guard that did not hold.
func (s *Store) conflict(guards []store.Guard, resp *clientv3.TxnResponse) error {
	for i, g := range guards {
		var current *store.KV
		if r, ok := rangeOf(resp.Responses, i); ok && len(r.Kvs) > 0 {
			kv := s.kv(r.Kvs[0])
			current = &kv
		}
		if current == nil && g.ModRevision == 0 || current != nil && current.ModRevision == g.ModRevision {
			continue
		}
		return &store.ConflictError{Guard: g, Current: current}
	}
	return errors.New("store: etcd refused a transaction whose guards all hold")
}

func rangeOf(responses []*etcdserverpb.ResponseOp, i int) (*etcdserverpb.RangeResponse, bool) {
	if i >= len(responses) {
		return nil, false
	}
	r := responses[i].GetResponseRange()
	return r, r != nil
}

// kv makes a store's record of etcd's.
func (s *Store) kv(kv *mvccpb.KeyValue) store.KV {
	return store.KV{
		Key: string(kv.Key[len(s.o.Prefix):]), Value: kv.Value,
		CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
	}
}

// commitError says what a failed transaction means. It never wraps an error of a
// context: that would say that nothing was applied.
func commitError(err error, txn *store.Txn) error {
	if is := classify("commit", err); settled(is) {
		if !errors.Is(is, store.ErrTooLarge) {
			return is
		}
		size, largest, at := 0, 0, ""
		for i := range txn.Ops {
			n := len(txn.Ops[i].Key) + len(txn.Ops[i].Value)
			if size += n; n > largest {
				largest, at = n, txn.Ops[i].Key
			}
		}
		return fmt.Errorf("%w (%d guards, %d operations, %d bytes; the largest is %s with %d)",
			is, len(txn.Guards), len(txn.Ops), size, at, largest)
	}
	return fmt.Errorf("store: etcd did not confirm a transaction, it may have been applied: %v", err)
}

// settled tells whether the error says for certain that nothing was applied.
func settled(err error) bool {
	for _, certain := range []error{store.ErrNoSpace, store.ErrTooLarge, store.ErrInvalid} {
		if errors.Is(err, certain) {
			return true
		}
	}
	return false
}
