package cache

import (
	"strings"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// Bounds of the label indexes. Smaller kinds are scanned as quickly.
const (
	labelIndexFrom = 4096
	labelIndexMost = 8 // keys of one kind
)

// labelIndex orders the entries that have one label by its value and then by their
// keys. It is made when lists ask for the label and goes when they no longer do.
type labelIndex struct {
	key  string
	tree *btree.BTreeG[labelled]
	// distinct is how many values there were when it was made: the more, the less one
	// of them selects.
	distinct int
	used     *atomic.Bool // since the last Trim; shared by all copies
}

type labelled struct {
	value string
	e     *Entry
}

func newLabelIndex(key string) *labelIndex {
	less := func(a, b labelled) bool {
		if a.value != b.value {
			return a.value < b.value
		}
		return a.e.Key < b.e.Key
	}
	x := &labelIndex{key: key, tree: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16}), used: &atomic.Bool{}}
	x.used.Store(true)
	return x
}

func (x *labelIndex) change(old, next *Entry) {
	var was, is string
	var had, has bool
	if old != nil {
		was, had = old.Object.GetLabels()[x.key]
	}
	if next != nil {
		is, has = next.Object.GetLabels()[x.key]
	}
	if had && (!has || was != is) {
		x.tree.Delete(labelled{was, old})
	}
	if has {
		x.tree.Set(labelled{is, next})
	}
}

// WantLabel says that lists ask for a label by its value. If the kind is large an
// index for it is made, beside whatever else happens.
func (k *Kind) WantLabel(key string) {
	if k.count.Load() < labelIndexFrom || !k.indexing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer k.indexing.Store(false)
		// Twice: changes may outrun the ring while the first is made.
		for range 2 {
			if k.indexLabel(key) {
				return
			}
		}
	}()
}

// indexLabel makes an index from a snapshot and brings it forward by the events
// since. It returns false when those are gone already.
func (k *Kind) indexLabel(key string) bool {
	s := k.Snapshot()
	if len(s.labels) >= labelIndexMost || s.label(key) != nil {
		return true
	}
	x := newLabelIndex(key)
	values := map[string]struct{}{}
	s.tree.Scan(func(e *Entry) bool {
		x.change(nil, e)
		if v, ok := e.Object.GetLabels()[key]; ok {
			values[v] = struct{}{}
		}
		return true
	})
	x.distinct = len(values)
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.Revision < k.ring.lost {
		return false
	}
	for p := k.ring.after(s.Revision); p < k.ring.head; p++ {
		ev := &k.ring.buf[k.ring.index(p)]
		x.change(ev.Old, ev.New)
	}
	k.labels = append(k.labels[:len(k.labels):len(k.labels)], x)
	k.snap.Store(nil)
	return true
}

// trimLabels drops the indexes that nobody has used since the last time. The caller
// holds the lock.
func (k *Kind) trimLabels() {
	var kept []*labelIndex
	for _, x := range k.labels {
		if x.used.Swap(false) {
			kept = append(kept, x)
		}
	}
	if len(kept) != len(k.labels) {
		k.labels = kept
		k.snap.Store(nil)
	}
}

// copyLabels are the indexes as they are, for a snapshot. The caller holds the lock.
func (k *Kind) copyLabels() []*labelIndex {
	if len(k.labels) == 0 {
		return nil
	}
	out := make([]*labelIndex, len(k.labels))
	for i, x := range k.labels {
		c := *x
		c.tree = x.tree.Copy()
		out[i] = &c
	}
	return out
}

// Label is a label and its value.
type Label struct{ Key, Value string }

func (s Snapshot) label(key string) *labelIndex {
	for _, x := range s.labels {
		if x.key == key {
			return x
		}
	}
	return nil
}

// AscendLabelled is Ascend for entries that have all the labels, and maybe for
// others. It returns false, and has done nothing, when there is no index for any of
// them.
func (s Snapshot) AscendLabelled(namespace, after string, labels []Label, f func(*Entry) bool) bool {
	var best *labelIndex
	var value string
	for _, l := range labels {
		if x := s.label(l.Key); x != nil && (best == nil || x.distinct > best.distinct) {
			best, value = x, l.Value
		}
	}
	if best == nil {
		return false
	}
	best.used.Store(true)
	prefix, start := bounds(namespace, after)
	best.tree.Ascend(labelled{value, &Entry{Key: start}}, func(l labelled) bool {
		return l.value == value && strings.HasPrefix(l.e.Key, prefix) && f(l.e)
	})
	return true
}
