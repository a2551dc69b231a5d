package recorded

import (
	"fmt"
	"sort"
	"strings"
)

// Diff lists where two answers differ: - wanted, + got.
func Diff(want, got Answer) string {
	var b strings.Builder
	if want.Status != got.Status {
		fmt.Fprintf(&b, "  - status %d\n  + status %d\n", want.Status, got.Status)
	}
	diffValue(&b, "headers", toAny(want.Headers), toAny(got.Headers))
	diffValue(&b, "", want.Body, got.Body)
	return b.String()
}

func toAny(m map[string]any) any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func diffValue(b *strings.Builder, at string, want, got any) {
	if canonical(want) == canonical(got) {
		return
	}
	wm, ok1 := want.(map[string]any)
	gm, ok2 := got.(map[string]any)
	if ok1 && ok2 {
		keys := map[string]bool{}
		for k := range wm {
			keys[k] = true
		}
		for k := range gm {
			keys[k] = true
		}
		sorted := make([]string, 0, len(keys))
		for k := range keys {
			sorted = append(sorted, k)
		}
		sort.Strings(sorted)
		for _, k := range sorted {
			w, inW := wm[k]
			g, inG := gm[k]
			switch {
			case !inW:
				fmt.Fprintf(b, "  + %s/%s: %s\n", at, k, clip(canonical(g)))
			case !inG:
				fmt.Fprintf(b, "  - %s/%s: %s\n", at, k, clip(canonical(w)))
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
	fmt.Fprintf(b, "  - %s: %s\n  + %s: %s\n", at, clip(canonical(want)), at, clip(canonical(got)))
}

func clip(s string) string {
	if len(s) > 1200 {
		return s[:1200] + "..."
	}
	return s
}
