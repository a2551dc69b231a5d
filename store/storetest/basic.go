package storetest

import (
	"context"
	"errors"
	"testing"

	"skiff.dev/skiff/store"
)

var everything = store.Range{Start: "", End: "\xff\xff\xff\xff"}

func testEmpty(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	if got := s.Revision(); got != store.FirstRevision {
		t.Errorf("revision %d, want %d", got, store.FirstRevision)
	}
	res := ranged(t, s, everything)
	if len(res.KVs) != 0 || res.Count != 0 || res.More || res.Revision != store.FirstRevision {
		t.Errorf("range of an empty store: %+v", res)
	}
}

func testGuards(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	create := store.Txn{Guards: []store.Guard{guard("a", 0)}, Ops: []store.Op{put("a", "1")}}
	rev := commit(t, s, create)
	if rev != store.FirstRevision+1 || s.Revision() != rev {
		t.Errorf("first write has revision %d, store %d", rev, s.Revision())
	}
	_, err := s.Commit(context.Background(), create)
	wantConflict(t, err, "a", "a=1@2/2 ")
	_, err = s.Commit(context.Background(), store.Txn{Guards: []store.Guard{guard("a", 99)}, Ops: []store.Op{put("a", "x")}})
	wantConflict(t, err, "a", "a=1@2/2 ")
	_, err = s.Commit(context.Background(), store.Txn{Guards: []store.Guard{guard("b", 2)}, Ops: []store.Op{put("b", "x")}})
	wantConflict(t, err, "b", "")
	if s.Revision() != rev {
		t.Errorf("conflicts used revisions: %d", s.Revision())
	}
	commit(t, s, store.Txn{Guards: []store.Guard{guard("a", rev)}, Ops: []store.Op{put("a", "2")}})
	wantKVs(t, s, everything, "a=2@2/3 ")
}

func wantConflict(t *testing.T, err error, key, current string) {
	t.Helper()
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("error %v, want a conflict", err)
	}
	got := ""
	if conflict.Current != nil {
		got = show([]store.KV{*conflict.Current})
	}
	if conflict.Guard.Key != key || got != current {
		t.Errorf("conflict on %s with %q, want %s with %q", conflict.Guard.Key, got, key, current)
	}
}

func testMultiOp(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("a", "1"), put("b", "1")))
	w := watch(t, s, store.Watch{Start: "a", End: "z", From: 1})
	_, err := s.Commit(context.Background(), store.Txn{
		Guards: []store.Guard{guard("a", 2), guard("b", 1)},
		Ops:    []store.Op{put("a", "2"), del("b"), put("c", "2")},
	})
	wantConflict(t, err, "b", "b=1@2/2 ")
	wantKVs(t, s, everything, "a=1@2/2 b=1@2/2 ")
	rev := commit(t, s, store.Txn{
		Guards: []store.Guard{guard("a", 2), guard("b", 2), guard("c", 0)},
		Ops:    []store.Op{put("c", "2"), del("b"), put("a", "2")},
	})
	wantKVs(t, s, everything, "a=2@2/3 c=2@3/3 ")
	if got, want := showEvents(follow(t, w, rev)), "+a=1@2/2 +b=1@2/2 +c=2@3/3 -b=@3 +a=2@2/3 "; got != want {
		t.Errorf("events\n got %s\nwant %s", got, want)
	}
}

func testInvalid(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	many := store.Txn{}
	for i := range 20 {
		many.Ops = append(many.Ops, put(string(rune('a'+i)), "1"))
	}
	many.Ops = append(many.Ops, del("c"))
	for _, txn := range []store.Txn{ops(put("a", "1"), put("a", "2")), ops(put("", "1")), many} {
		_, err := s.Commit(context.Background(), txn)
		wantErr(t, err, store.ErrInvalid)
	}
	if rev := commit(t, s, store.Txn{}); rev != store.FirstRevision {
		t.Errorf("an empty transaction has revision %d", rev)
	}
}

func testDelete(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	if rev := commit(t, s, ops(del("a"))); rev != store.FirstRevision || s.Revision() != rev {
		t.Errorf("deleting nothing gave revision %d", rev)
	}
	commit(t, s, ops(put("a", "1")))
	w := watch(t, s, store.Watch{Start: "a", From: 2})
	commit(t, s, ops(del("a"), del("b")))
	wantKVs(t, s, everything, "")
	if rev := commit(t, s, ops(del("a"))); rev != 3 {
		t.Errorf("deleting again gave revision %d", rev)
	}
	commit(t, s, store.Txn{Guards: []store.Guard{guard("a", 0)}, Ops: []store.Op{put("a", "2")}})
	wantKVs(t, s, everything, "a=2@4/4 ")
	if got, want := showEvents(follow(t, w, 4)), "+a=1@2/2 -a=@3 +a=2@4/4 "; got != want {
		t.Errorf("events\n got %s\nwant %s", got, want)
	}
}

func testOldRevisions(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("a", "1")))               // 2
	commit(t, s, ops(put("b", "1")))               // 3
	commit(t, s, ops(put("a", "2")))               // 4
	commit(t, s, ops(del("b")))                    // 5
	commit(t, s, ops(put("b", "2"), put("c", ""))) // 6
	for range 20 {
		commit(t, s, ops(put("a", "n")))
	}
	for rev, want := range map[int64]string{
		1: "", 2: "a=1@2/2 ", 3: "a=1@2/2 b=1@3/3 ", 4: "a=2@2/4 b=1@3/3 ", 5: "a=2@2/4 ",
		6: "a=2@2/4 b=2@6/6 c=@6/6 ", 26: "a=n@2/26 b=2@6/6 c=@6/6 ",
	} {
		r := everything
		r.Revision = rev
		wantKVs(t, s, r, want)
		if got := ranged(t, s, r).Revision; got != rev {
			t.Errorf("range at %d says revision %d", rev, got)
		}
	}
	wantKVs(t, s, store.Range{Start: "b", Revision: 4}, "b=1@3/3 ")
	r := everything
	r.Revision = 27
	_, err := s.Range(context.Background(), r)
	wantErr(t, err, store.ErrFuture)
}

func testRangeOptions(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	commit(t, s, ops(put("/p/a", "1"), put("/p/b", "2"), put("/p/c", "3"), put("/q/a", "4")))
	prefix := store.Range{Start: "/p/", End: store.PrefixEnd("/p/")}
	wantKVs(t, s, prefix, "/p/a=1@2/2 /p/b=2@2/2 /p/c=3@2/2 ")
	wantKVs(t, s, store.Range{Start: "/p/b"}, "/p/b=2@2/2 ")
	wantKVs(t, s, store.Range{Start: "/p"}, "")
	wantKVs(t, s, store.Range{Start: "/p/b", End: "/q/a"}, "/p/b=2@2/2 /p/c=3@2/2 ")
	wantKVs(t, s, store.Range{Start: "/z", End: "/a"}, "")
	for limit, more := range map[int]bool{1: true, 2: true, 3: false, 4: false} {
		r := prefix
		r.Limit = limit
		if res := ranged(t, s, r); len(res.KVs) != min(limit, 3) || res.More != more || res.Count != 3 {
			t.Errorf("limit %d: %+v", limit, res)
		}
		r.NoCount = true
		if res := ranged(t, s, r); len(res.KVs) != min(limit, 3) || res.More != more {
			t.Errorf("limit %d without count: %+v", limit, res)
		}
	}
	r := prefix
	r.KeysOnly = true
	wantKVs(t, s, r, "/p/a=@2/2 /p/b=@2/2 /p/c=@2/2 ")
	r = prefix
	r.CountOnly = true
	if res := ranged(t, s, r); len(res.KVs) != 0 || res.Count != 3 || res.More {
		t.Errorf("count only: %+v", res)
	}
}

func testOddKeys(t *testing.T, open func() store.Store) {
	s := begin(t, open)
	keys := []string{"\x00", "\x00\x00", "\x00\x01", "\x00\xff", "a", "a\x00", "a\x00\x00", "a\x00\x01", "a\x01", "aa", "b", "\xff", "\xff\x00", "\xff\xff"}
	for i := range keys { // in another order than theirs
		commit(t, s, ops(put(keys[(i*5)%len(keys)], "v")))
	}
	got := ranged(t, s, everything).KVs
	if len(got) != len(keys) {
		t.Fatalf("%d keys, want %d", len(got), len(keys))
	}
	for i, k := range keys {
		if got[i].Key != k {
			t.Errorf("key %d is %q, want %q", i, got[i].Key, k)
		}
		if res := ranged(t, s, store.Range{Start: k}); len(res.KVs) != 1 || res.KVs[0].Key != k {
			t.Errorf("single key %q: %+v", k, res)
		}
		for j, end := range keys {
			if n := ranged(t, s, store.Range{Start: k, End: end}).Count; n != max(0, j-i) {
				t.Errorf("[%q, %q) holds %d, want %d", k, end, n, max(0, j-i))
			}
		}
	}
}
