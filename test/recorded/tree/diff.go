package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Diff lists where two values differ, a line a place: - wanted, + got. Paths begin
// with at.
func Diff(at string, want, got any) string {
	var b strings.Builder
	diffValue(&b, at, want, got)
	return b.String()
}

func diffValue(b *strings.Builder, at string, want, got any) {
	if Canonical(want) == Canonical(got) {
		return
	}
	wm, ok1 := want.(map[string]any)
	gm, ok2 := got.(map[string]any)
	if ok1 && ok2 {
		keys := maps.Clone(wm)
		maps.Copy(keys, gm)
		for _, k := range SortedKeys(keys) {
			w, inW := wm[k]
			g, inG := gm[k]
			switch {
			case !inW:
				fmt.Fprintf(b, "  + %s/%s: %s\n", at, k, show(g))
			case !inG:
				fmt.Fprintf(b, "  - %s/%s: %s\n", at, k, show(w))
			default:
				diffValue(b, at+"/"+k, w, g)
			}
		}
		return
	}
	wl, ok1 := want.([]any)
	gl, ok2 := got.([]any)
	if ok1 && ok2 && len(wl) == len(gl) {
		for i := range wl {
			diffValue(b, fmt.Sprintf("%s/%d", at, i), wl[i], gl[i])
		}
		return
	}
	fmt.Fprintf(b, "  - %s: %s\n  + %s: %s\n", at, show(want), at, show(got))
}

// show is a value for people, cut where it is long.
func show(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	s := strings.TrimSpace(b.String())
	if len(s) > 1200 {
		return s[:1200] + "..."
	}
	return s
}
