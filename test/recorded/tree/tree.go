// Package tree is JSON values as recordings of answers hold and compare them:
// numbers keep their text, paths name members and items, variables stand in
// strings. Packages recorded and recordeddocker play recordings with it.
package tree

import (
	"bytes"
	"encoding/json"
)

// Decode reads one JSON document with numbers as text.
func Decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// Canonical is JSON with sorted members; two values are equal when theirs is.
func Canonical(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
