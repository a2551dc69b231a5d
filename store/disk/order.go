package disk

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// order is the order of bytes. It tells Pebble besides which part of a version's key
// all versions of that key share, so that Pebble's Bloom filters answer for a key
// whatever its revision: that a key has no version, which each creation asks, is
// found without reading a block.
var order = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "skiff.versions.1"
	c.Split = sharedByVersions
	c.ImmediateSuccessor = func(dst, prefix []byte) []byte {
		dst = append(dst, prefix...)
		if len(prefix) > 0 && prefix[0] == versionSpace && bytes.HasSuffix(prefix, keyEnd) {
			dst[len(dst)-1]++ // 00 02 begins no key, and nothing sorts between
			return dst
		}
		return append(dst, 0)
	}
	return &c
}()

// sharedByVersions is the length of what versionPrefix made of a version's key. Other
// keys are whole.
func sharedByVersions(key []byte) int {
	if len(key) > 0 && key[0] == versionSpace {
		if i := bytes.Index(key, keyEnd); i >= 0 {
			return i + len(keyEnd)
		}
	}
	return len(key)
}
