package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"skiff.dev/skiff/store"
)

// The database holds three kinds of keys, told apart by their first byte.
// doc/store.md gives them byte for byte.
//
//	'd' escaped-key 00 01 ^revision  one version of a key
//	'm' name                         facts about the store itself
//	'r' revision index               one change, in the order of revisions
const (
	versionSpace = 'd'
	metaSpace    = 'm'
	changeSpace  = 'r'
)

var metaCompacted = []byte{metaSpace, 'c'}

// keyEnd stands between an escaped key and the revision, and nowhere before.
var keyEnd = []byte{0, 1}

const flagDeleted = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// escape appends key so that the order of the results is the order of the keys,
// also when more bytes follow the 00 01 that ends a key: a byte 00 inside
// becomes 00 FF.
func escape(b []byte, key string) []byte {
	for i := range len(key) {
		b = append(b, key[i])
		if key[i] == 0 {
			b = append(b, 0xff)
		}
	}
	return b
}

// versionPrefix appends what all versions of key begin with.
func versionPrefix(b []byte, key string) []byte {
	return append(escape(append(b, versionSpace), key), keyEnd...)
}

// versionKey appends the database key of one version; newer ones sort first.
func versionKey(b []byte, key string, revision int64) []byte {
	return binary.BigEndian.AppendUint64(versionPrefix(b, key), ^uint64(revision))
}

// splitVersionKey is the inverse of versionKey. prefix is a part of b.
func splitVersionKey(b []byte) (prefix []byte, revision int64, err error) {
	n := len(b) - 8
	if n < 3 || b[0] != versionSpace || b[n-2] != 0 || b[n-1] != 1 {
		return nil, 0, errors.New("not the key of a version")
	}
	revision = int64(^binary.BigEndian.Uint64(b[n:]))
	if revision <= 0 {
		return nil, 0, errors.New("a revision that is not positive")
	}
	return b[:n], revision, nil
}

// unescape gives the key back that versionPrefix made prefix of.
func unescape(prefix []byte) (string, error) {
	body := prefix[1 : len(prefix)-2]
	if bytes.IndexByte(body, 0) < 0 {
		return string(body), nil
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		out = append(out, body[i])
		if body[i] == 0 {
			if i++; i == len(body) || body[i] != 0xff {
				return "", errors.New("a key escaped wrongly")
			}
		}
	}
	return string(out), nil
}

// record is what a version says of its key.
type record struct {
	deleted        bool
	createRevision int64
	value          []byte
}

func recordSize(valueSize int) int { return 4 + 1 + 8 + valueSize }

// encode fills dst, which has recordSize bytes: checksum, flags, create
// revision, value. The checksum also covers the database key, so that a record
// in the wrong place is found out.
func (r record) encode(dst, key []byte) {
	dst[4] = 0
	if r.deleted {
		dst[4] = flagDeleted
	}
	binary.BigEndian.PutUint64(dst[5:], uint64(r.createRevision))
	copy(dst[13:], r.value)
	binary.BigEndian.PutUint32(dst, checksum(key, dst[4:]))
}

func checksum(key, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, payload)
}

// decodeRecord reads what encode wrote under key. The value is a part of b.
func decodeRecord(key, b []byte) (record, error) {
	if len(b) < recordSize(0) {
		return record{}, corrupt(key, fmt.Errorf("%d bytes, a version has at least %d", len(b), recordSize(0)))
	}
	if want, got := binary.BigEndian.Uint32(b), checksum(key, b[4:]); want != got {
		return record{}, corrupt(key, fmt.Errorf("checksum %08x, expected %08x", got, want))
	}
	r := record{deleted: b[4] == flagDeleted, createRevision: int64(binary.BigEndian.Uint64(b[5:])), value: b[13:]}
	if b[4] > flagDeleted || r.createRevision <= 0 || r.deleted && len(r.value) > 0 {
		return record{}, corrupt(key, errors.New("fields that do not belong together"))
	}
	return r, nil
}

// change is an entry of the log of changes: which key changed, and how.
type change struct {
	key      string
	deleted  bool
	replaces int64 // modify revision of the version that it replaced, or 0
}

func changeKey(b []byte, revision int64, index int) []byte {
	b = binary.BigEndian.AppendUint64(append(b, changeSpace), uint64(revision))
	return binary.BigEndian.AppendUint32(b, uint32(index))
}

func splitChangeKey(b []byte) (revision int64, err error) {
	if len(b) != 13 || b[0] != changeSpace {
		return 0, errors.New("not the key of a change")
	}
	if revision = int64(binary.BigEndian.Uint64(b[1:])); revision <= 0 {
		return 0, errors.New("a revision that is not positive")
	}
	return revision, nil
}

// encode appends checksum, flags, replaced revision, key.
func (c change) encode(dbKey []byte) []byte {
	b := make([]byte, 4, 13+len(c.key))
	var flags byte
	if c.deleted {
		flags = flagDeleted
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(c.replaces))
	b = append(b, c.key...)
	binary.BigEndian.PutUint32(b, checksum(dbKey, b[4:]))
	return b
}

func decodeChange(dbKey, b []byte) (change, error) {
	if len(b) < 13 {
		return change{}, corrupt(dbKey, fmt.Errorf("%d bytes, a change has at least 13", len(b)))
	}
	if want, got := binary.BigEndian.Uint32(b), checksum(dbKey, b[4:]); want != got {
		return change{}, corrupt(dbKey, fmt.Errorf("checksum %08x, expected %08x", got, want))
	}
	c := change{deleted: b[4] == flagDeleted, replaces: int64(binary.BigEndian.Uint64(b[5:])), key: string(b[13:])}
	if b[4] > flagDeleted || c.replaces < 0 || c.key == "" {
		return change{}, corrupt(dbKey, errors.New("fields that do not belong together"))
	}
	return c, nil
}

// corrupt names a record by its database key, in words where that is possible.
func corrupt(dbKey []byte, err error) error {
	where := fmt.Sprintf("%q", dbKey)
	if prefix, rev, kerr := splitVersionKey(dbKey); kerr == nil {
		if key, kerr := unescape(prefix); kerr == nil {
			where = fmt.Sprintf("%s at revision %d", key, rev)
		}
	} else if rev, kerr := splitChangeKey(dbKey); kerr == nil {
		where = fmt.Sprintf("change %d of revision %d", binary.BigEndian.Uint32(dbKey[9:]), rev)
	}
	return &store.CorruptError{Where: where, Err: err}
}
