package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

// write puts objects with the label shard, or deletes those for which shard gives
// "-", in one transaction, and waits for the cache.
func write(t *testing.T, c *Cache, k *Kind, from, to int, shard func(i int) string) {
	t.Helper()
	var txn store.Txn
	for i := from; i < to; i++ {
		ns, name := fmt.Sprint("n", i%3), fmt.Sprintf("o%05d", i)
		op := store.Op{Key: k.StoreKey(ns, name), Delete: true}
		if s := shard(i); s != "-" {
			obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			if s != "" {
				obj.Labels = map[string]string{"shard": s, "all": "yes"}
			}
			b, err := codec.EncodeStored(k.Kind, obj)
			if err != nil {
				t.Fatal(err)
			}
			op = store.Op{Key: op.Key, Value: b, Decoded: &Entry{Object: obj}}
		}
		txn.Ops = append(txn.Ops, op)
	}
	rev, err := c.store.Commit(context.Background(), txn)
	if err == nil {
		err = c.WaitFor(context.Background(), rev)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLabelIndex: an index gives what a scan gives, in the same order, whatever
// changes after and while it is made, and a snapshot's does not change.
func TestLabelIndex(t *testing.T) {
	s := mem.New()
	defer s.Close()
	c, k := newCache(t, s)
	r := rand.New(rand.NewPCG(1, 2))
	random := func(int) string { return []string{"", "-", "a", "b", "c", "a\x00"}[r.IntN(6)] }
	write(t, c, k, 0, labelIndexFrom+500, func(i int) string { return []string{"a", "b"}[i%2] })
	check := func(snap Snapshot, want map[string][]string) map[string][]string {
		t.Helper()
		got := map[string][]string{}
		for _, ns := range []string{"", "n1"} {
			for _, after := range []string{"", "n1/o00777"} {
				for _, v := range []string{"a", "b", "c", "nothing"} {
					var scan, index []string
					snap.Ascend(ns, after, func(e *Entry) bool {
						if e.Object.GetLabels()["shard"] == v {
							scan = append(scan, e.Key)
						}
						return true
					})
					if !snap.AscendLabelled(ns, after, []Label{{"none", "x"}, {"all", "yes"}, {"shard", v}}, func(e *Entry) bool {
						index = append(index, e.Key)
						return true
					}) {
						t.Fatal("no index")
					}
					if !slices.Equal(scan, index) {
						t.Fatalf("shard=%s in %q after %q: scan has %d, index %d", v, ns, after, len(scan), len(index))
					}
					got[ns+after+v] = scan
				}
			}
		}
		if want != nil && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatal("a snapshot has changed")
		}
		return got
	}
	if !k.indexLabel("shard") || !k.indexLabel("all") {
		t.Fatal("not indexed")
	}
	first := k.Snapshot()
	before := check(first, nil)
	done := make(chan bool)
	go func() { done <- k.indexLabel("other") }()
	for range 20 {
		from := r.IntN(labelIndexFrom)
		write(t, c, k, from, from+200, random)
		check(k.Snapshot(), nil)
	}
	<-done
	check(first, before)
	c.Trim()
	check(k.Snapshot(), nil)
	c.Trim() // used since
	c.Trim()
	if n := len(k.Snapshot().labels); n != 0 {
		t.Errorf("%d indexes stay although nobody uses them", n)
	}
}

// TestThin: in a large kind a new version shares memory with the old one and a new
// object with its neighbour; both keep their own content.
func TestThin(t *testing.T) {
	s := mem.New()
	defer s.Close()
	c, k := newCache(t, s)
	obj := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n1", Name: name}, Data: map[string]string{"same": "text"}}
	}
	if o := obj("x"); k.Thin("n1/x", o, nil) != o {
		t.Error("objects of a small kind are copied")
	}
	write(t, c, k, 0, shareFrom, func(int) string { return "a" })
	put(t, c, k, "m", "1") // in n, before n1
	old := k.Get("n", "m")
	o := obj("mm")
	o.Namespace, o.Data = "n", map[string]string{"v": "1"}
	got := k.Thin("n/mm", o, nil).(*corev1.ConfigMap)
	if got == o || got.Name != "mm" || fmt.Sprintf("%p", got.Data) != fmt.Sprintf("%p", old.Object.(*corev1.ConfigMap).Data) {
		t.Errorf("a new object does not share with its neighbour: %+v", got)
	}
}

// TestEncodedAreBounded: beyond the bound encodings are not kept, save those of
// events, and trimming makes room again.
func TestEncodedAreBounded(t *testing.T) {
	s := mem.New()
	defer s.Close()
	c, k := newCache(t, s)
	put(t, c, k, "a", "1")
	e := k.Get("n", "a")
	c.encoded.Store(maxEncoded)
	one, err := e.Body(codec.JSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := e.Body(codec.JSON, nil); &one[0] == &two[0] {
		t.Error("an encoding is kept beyond the bound")
	}
	select {
	case <-c.Pressed():
	default:
		t.Error("nobody was asked to trim")
	}
	three, _ := e.EventBody(codec.JSON, nil)
	if four, _ := e.EventBody(codec.JSON, nil); &three[0] != &four[0] {
		t.Error("an event's encoding is not kept")
	}
	c.Trim()
	if n := c.encoded.Load(); n != int64(len(three)) {
		t.Errorf("%d bytes are counted, %d kept", n, len(three))
	}
}
