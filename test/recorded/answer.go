package recorded

import (
	"fmt"

	"skiff.dev/skiff/test/recorded/tree"
)

// Diff lists where two answers differ: - wanted, + got.
func Diff(want, got Answer) string {
	out := ""
	if want.Status != got.Status {
		out = fmt.Sprintf("  - status %d\n  + status %d\n", want.Status, got.Status)
	}
	return out + tree.Diff("headers", object(want.Headers), object(got.Headers)) + tree.Diff("", want.Body, got.Body)
}

func object(m map[string]any) any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
