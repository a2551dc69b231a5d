package disk

import (
	"bytes"
	"errors"
	"testing"

	"skiff.dev/skiff/store"
)

func FuzzRecord(f *testing.F) {
	for _, r := range []record{{createRevision: 1}, {createRevision: 7, value: []byte("value")}, {createRevision: 9, deleted: true}} {
		key := versionKey(nil, "/registry/pods/a\x00b", 12)
		b := make([]byte, recordSize(len(r.value)))
		r.encode(b, key)
		f.Add(key, b)
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, b []byte) {
		r, err := decodeRecord(key, b)
		if err != nil {
			if ce := new(store.CorruptError); !errors.As(err, &ce) || ce.Where == "" {
				t.Fatalf("error %v names no record", err)
			}
			return
		}
		again := make([]byte, recordSize(len(r.value)))
		r.encode(again, key)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
	})
}

func FuzzChange(f *testing.F) {
	key := changeKey(nil, 5, 0)
	f.Add(key, change{key: "a", replaces: 3}.encode(key))
	f.Add(key, change{key: "b", deleted: true}.encode(key))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, b []byte) {
		c, err := decodeChange(key, b)
		if err == nil && !bytes.Equal(c.encode(key), b) {
			t.Fatalf("%x becomes %x", b, c.encode(key))
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(versionKey(nil, "a\x00b", 3)), "a", "a\x00b")
	f.Add([]byte{versionSpace, 0, 0, 1}, "", "\x00\xff")
	f.Fuzz(func(t *testing.T, raw []byte, a, b string) {
		if prefix, rev, err := splitVersionKey(raw); err == nil {
			if key, err := unescape(prefix); err == nil && !bytes.Equal(versionKey(nil, key, rev), raw) {
				t.Fatalf("%x is not the key of %q at %d", raw, key, rev)
			}
		}
		if _, err := splitChangeKey(raw); err == nil && len(raw) != 13 {
			t.Fatal("a change's key of another length")
		}
		ka, kb := versionKey(nil, a, 1), versionKey(nil, b, 1)
		if (a < b) != (bytes.Compare(ka, kb) < 0) {
			t.Fatalf("order of %q and %q is lost", a, b)
		}
		if key, err := unescape(versionPrefix(nil, a)); err != nil || key != a {
			t.Fatalf("%q becomes %q, %v", a, key, err)
		}
	})
}

// TestRecordBitFlips: no changed bit goes unnoticed, in the record or its key.
func TestRecordBitFlips(t *testing.T) {
	key := versionKey(nil, "/registry/a", 12)
	b := make([]byte, recordSize(5))
	record{createRevision: 7, value: []byte("value")}.encode(b, key)
	both := append(bytes.Clone(key), b...)
	for i := range len(both) * 8 {
		flipped := bytes.Clone(both)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := decodeRecord(flipped[:len(key)], flipped[len(key):]); err == nil {
			t.Errorf("bit %d flipped and not noticed", i)
		}
	}
}
