package disk

import (
	"bytes"
	"testing"
)

// FuzzOrder holds what Pebble asks of a comparer: a prefix sorts before what it is a
// prefix of, keys are in the order of their prefixes first, and suffixes decide among
// keys of one prefix.
func FuzzOrder(f *testing.F) {
	for _, key := range []string{"", "a", "a\x00b", "a\x00", "\x00\x01"} {
		f.Add(versionKey(nil, key, 7), versionKey(nil, key+"b", 9))
		f.Add(versionPrefix(nil, key), versionKey(nil, key, 1<<40))
		f.Add(versionKey(nil, key, 1), changeKey(nil, 1, 1))
	}
	f.Add([]byte("d\x00\x01\x00\x01"), []byte("d\x00\x02"))
	f.Add([]byte{}, []byte("d"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		prefixA, prefixB := a[:order.Split(a)], b[:order.Split(b)]
		if len(prefixA) < len(a) && order.Compare(prefixA, a) >= 0 {
			t.Errorf("%q does not sort before %q", prefixA, a)
		}
		if n := order.Split(prefixA); n != len(prefixA) {
			t.Errorf("the prefix of %q is not that of itself", a)
		}
		if order.Compare(prefixA, prefixB) > 0 {
			t.Errorf("%q and %q are not in the order of their prefixes", a, b)
		}
		if bytes.Equal(prefixA, prefixB) && order.ComparePointSuffixes(a[len(prefixA):], b[len(prefixB):]) != order.Compare(a, b) {
			t.Errorf("%q and %q are not in the order of their suffixes", a, b)
		}
		next := order.ImmediateSuccessor(nil, prefixA)
		if order.Compare(prefixA, next) >= 0 || order.Split(next) != len(next) {
			t.Errorf("%q is no successor of %q", next, prefixA)
		}
		if order.Compare(prefixA, prefixB) < 0 && order.Compare(prefixB, next) < 0 {
			t.Errorf("%q lies between %q and its successor %q", prefixB, prefixA, next)
		}
	})
}
