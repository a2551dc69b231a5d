package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"

	"skiff.dev/skiff/store"
)

func testRestart(t *testing.T, open func() store.Store) {
	s := open()
	defer func() { s.Close() }()
	commit(t, s, ops(put("a", "1"), put("b", "1")))
	commit(t, s, ops(del("b")))
	commit(t, s, ops(put("a", "2")))
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		if got := s.Revision(); got != 4 {
			t.Fatalf("revision %d after a restart, want 4", got)
		}
		wantKVs(t, s, everything, "a=2@2/4 ")
		wantKVs(t, s, store.Range{Start: "a", End: "z", Revision: 2}, "a=1@2/2 b=1@2/2 ")
		w := watch(t, s, store.Watch{Start: "a", End: "z", From: 2})
		if got, want := showEvents(follow(t, w, 4)), "+a=1@2/2 +b=1@2/2 -b=@3 +a=2@2/4 "; got != want {
			t.Errorf("watch after a restart\n got %s\nwant %s", got, want)
		}
	}
	if rev := commit(t, s, store.Txn{Guards: []store.Guard{guard("a", 4)}, Ops: []store.Op{put("a", "3")}}); rev != 5 {
		t.Errorf("first write after the restart has revision %d, want 5", rev)
	}
}

func testContexts(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Commit(ctx, ops(put("a", "1")))
	wantErr(t, err, context.Canceled)
	_, err = s.Range(ctx, everything)
	wantErr(t, err, context.Canceled)
	_, err = s.Watch(ctx, store.Watch{Start: "a"})
	wantErr(t, err, context.Canceled)
	wantErr(t, s.Compact(ctx, 1), context.Canceled)
	// A commit that gives up on its context has not happened, one that does not has.
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			go cancel()
			key := fmt.Sprint("k", i)
			rev, err := s.Commit(ctx, ops(put(key, "v")))
			res, rerr := s.Range(context.Background(), store.Range{Start: key})
			switch {
			case rerr != nil:
				t.Error(rerr)
			case err == nil && (res.Count != 1 || res.KVs[0].ModRevision != rev):
				t.Errorf("%s is missing though it was written", key)
			case err != nil && (!errors.Is(err, context.Canceled) || res.Count != 0):
				t.Errorf("%s: %v, but there are %d", key, err, res.Count)
			}
		})
	}
	wg.Wait()
}

func testClosed(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("a", "1")))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				if _, err := s.Commit(context.Background(), ops(put(fmt.Sprint(i), "v"))); err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	ctx := context.Background()
	_, err := s.Commit(ctx, ops(put("a", "1")))
	wantErr(t, err, store.ErrClosed)
	_, err = s.Range(ctx, everything)
	wantErr(t, err, store.ErrClosed)
	_, err = s.Watch(ctx, store.Watch{Start: "a"})
	wantErr(t, err, store.ErrClosed)
	wantErr(t, s.Compact(ctx, 1), store.ErrClosed)
}

// testModel compares random transactions, compactions and restarts with a plain
// map per revision.
func testModel(t *testing.T, open func() store.Store) {
	s := open()
	defer func() { s.Close() }()
	rnd := rand.New(rand.NewPCG(1, 2))
	states := []map[string]store.KV{nil, {}} // by revision
	compacted := int64(0)
	for range 600 {
		now := states[len(states)-1]
		rev := int64(len(states))
		next := map[string]store.KV{}
		for k, v := range now {
			next[k] = v
		}
		txn, changed := store.Txn{}, false
		for _, k := range rnd.Perm(12)[:1+rnd.IntN(4)] {
			key := fmt.Sprintf("k%02d", k)
			old, exists := now[key]
			if rnd.IntN(2) == 0 {
				txn.Guards = append(txn.Guards, guard(key, old.ModRevision))
			}
			if rnd.IntN(3) == 0 {
				txn.Ops = append(txn.Ops, del(key))
				delete(next, key)
				changed = changed || exists
				continue
			}
			kv := store.KV{Key: key, Value: fmt.Append(nil, rev), CreateRevision: rev, ModRevision: rev}
			if exists {
				kv.CreateRevision = old.CreateRevision
			}
			txn.Ops = append(txn.Ops, put(key, string(kv.Value)))
			next[key], changed = kv, true
		}
		want := rev - 1
		if changed {
			states, want = append(states, next), rev
		}
		if got := commit(t, s, txn); got != want {
			t.Fatalf("revision %d, want %d", got, want)
		}
		switch rnd.IntN(60) {
		case 0:
			s.Close()
			s = open()
		case 1:
			compacted = max(compacted, want-int64(rnd.IntN(20)))
			if err := s.Compact(context.Background(), compacted); err != nil {
				t.Fatal(err)
			}
		}
		at := max(compacted, 1) + int64(rnd.IntN(len(states)-int(max(compacted, 1))))
		r := everything
		r.Revision = at
		var kvs []store.KV
		for k := range 12 {
			if kv, ok := states[at][fmt.Sprintf("k%02d", k)]; ok {
				kvs = append(kvs, kv)
			}
		}
		wantKVs(t, s, r, show(kvs))
		if t.Failed() {
			t.Fatalf("at revision %d of %d, compacted %d", at, len(states)-1, compacted)
		}
	}
}

// testStress increments counters under guards from many goroutines while others
// range and compact; no increment may be lost and every snapshot is consistent.
func testStress(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	const workers, each = 16, 50
	var writers, readers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for w := range workers {
		writers.Go(func() {
			for n := 0; n < each; {
				res, err := s.Range(context.Background(), store.Range{Start: "sum"})
				if err != nil {
					t.Error(err)
					return
				}
				sum, mod := 0, int64(0)
				if len(res.KVs) > 0 {
					fmt.Sscan(string(res.KVs[0].Value), &sum)
					mod = res.KVs[0].ModRevision
				}
				_, err = s.Commit(context.Background(), store.Txn{
					Guards: []store.Guard{guard("sum", mod)},
					Ops:    []store.Op{put("sum", fmt.Sprint(sum+1)), put(fmt.Sprintf("w%d", w), fmt.Sprint(n+1))},
				})
				var conflict *store.ConflictError
				switch {
				case err == nil:
					n++
				case !errors.As(err, &conflict):
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				total, sum := 0, 0
				for _, kv := range ranged(t, s, everything).KVs {
					n := 0
					fmt.Sscan(string(kv.Value), &n)
					if kv.Key == "sum" {
						sum = n
					} else {
						total += n
					}
				}
				if total != sum {
					t.Errorf("a torn snapshot: %d and %d", total, sum)
					return
				}
				if i == 0 {
					if err := s.Compact(context.Background(), s.Revision()); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if got := string(ranged(t, s, store.Range{Start: "sum"}).KVs[0].Value); got != fmt.Sprint(workers*each) {
		t.Errorf("sum %s, want %d", got, workers*each)
	}
}

// access is one call in a history: a get, or a write guarded by a revision.
type access struct {
	key   string
	write bool
	guard int64
	value string
}

// outcome is its answer: the state seen, or whether the write was applied.
type outcome struct {
	ok    bool
	mod   int64
	value string
}

// register is the model of one key: what it holds and since which revision.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(access).key
			keys[k] = append(keys[k], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range keys {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return outcome{} },
	Step: func(state, input, output any) (bool, any) {
		st, in, out := state.(outcome), input.(access), output.(outcome)
		if !in.write {
			return out.mod == st.mod && out.value == st.value, st
		}
		if !out.ok { // a conflict tells what is there instead
			return st.mod != in.guard && out.mod == st.mod && out.value == st.value, st
		}
		return st.mod == in.guard && out.mod > st.mod, outcome{mod: out.mod, value: in.value}
	},
}

func testLinearizable(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	const clients, calls, keys = 8, 150, 4
	var clock atomic.Int64
	histories := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 7))
			known := map[string]int64{}
			for n := range calls {
				in := access{key: fmt.Sprintf("k%d", rnd.IntN(keys)), write: rnd.IntN(3) > 0}
				if in.write {
					in.guard, in.value = known[in.key], fmt.Sprintf("%d.%d", c, n)
				}
				op := porcupine.Operation{ClientId: c, Input: in, Call: clock.Add(1)}
				out, err := call(s, in)
				if err != nil {
					t.Error(err)
					return
				}
				op.Return, op.Output = clock.Add(1), out
				known[in.key] = out.mod
				histories[c] = append(histories[c], op)
			}
		})
	}
	wg.Wait()
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	if !porcupine.CheckOperations(register, all) {
		t.Error("the history is not linearizable")
	}
}

func call(s store.Store, in access) (outcome, error) {
	if !in.write {
		res, err := s.Range(context.Background(), store.Range{Start: in.key})
		if err != nil || len(res.KVs) == 0 {
			return outcome{}, err
		}
		return outcome{mod: res.KVs[0].ModRevision, value: string(res.KVs[0].Value)}, nil
	}
	rev, err := s.Commit(context.Background(), store.Txn{
		Guards: []store.Guard{guard(in.key, in.guard)}, Ops: []store.Op{put(in.key, in.value)},
	})
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &conflict) && conflict.Current != nil:
		return outcome{mod: conflict.Current.ModRevision, value: string(conflict.Current.Value)}, nil
	case errors.As(err, &conflict):
		return outcome{}, nil
	case err != nil:
		return outcome{}, err
	}
	return outcome{ok: true, mod: rev, value: in.value}, nil
}
