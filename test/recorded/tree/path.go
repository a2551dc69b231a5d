package tree

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Segments splits a path of the files' own form.
func Segments(path string) []string {
	if path == "." || path == "" {
		return nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts
}

// children are the members or items of v that a segment names.
func children(v any, seg string) []any {
	var out []any
	switch v := v.(type) {
	case map[string]any:
		if seg == "*" {
			for _, k := range SortedKeys(v) {
				out = append(out, v[k])
			}
		} else if x, ok := v[seg]; ok {
			out = append(out, x)
		}
	case []any:
		for _, i := range indexes(v, seg) {
			out = append(out, v[i])
		}
	}
	return out
}

func indexes(list []any, seg string) []int {
	var out []int
	key, text, byKey := "", "", false
	if strings.HasPrefix(seg, "[") && strings.HasSuffix(seg, "]") {
		key, text, byKey = strings.Cut(seg[1:len(seg)-1], "=")
	}
	for i, x := range list {
		switch {
		case seg == "*":
			out = append(out, i)
		case byKey:
			if m, ok := x.(map[string]any); ok {
				if have, ok := m[key]; ok && text == Text(have) {
					out = append(out, i)
				}
			}
		default:
			if n, err := strconv.Atoi(seg); err == nil && n == i {
				out = append(out, i)
			}
		}
	}
	return out
}

// Find returns the first value at path.
func Find(v any, path string) (any, bool) {
	at := []any{v}
	for _, seg := range Segments(path) {
		var next []any
		for _, x := range at {
			next = append(next, children(x, seg)...)
		}
		at = next
	}
	if len(at) == 0 {
		return nil, false
	}
	return at[0], true
}

// Remove takes what path names out of v and returns what is left.
func Remove(v any, segs []string) any {
	if len(segs) == 0 {
		return v
	}
	last := len(segs) == 1
	switch x := v.(type) {
	case map[string]any:
		keys := []string{segs[0]}
		if segs[0] == "*" {
			keys = SortedKeys(x)
		}
		for _, k := range keys {
			child, ok := x[k]
			if !ok {
				continue
			}
			if last {
				delete(x, k)
			} else {
				x[k] = Remove(child, segs[1:])
			}
		}
		return x
	case []any:
		hit := map[int]bool{}
		for _, i := range indexes(x, segs[0]) {
			hit[i] = true
		}
		var out []any
		for i, item := range x {
			if hit[i] && last {
				continue
			}
			if hit[i] {
				item = Remove(item, segs[1:])
			}
			out = append(out, item)
		}
		if out == nil {
			out = []any{}
		}
		return out
	}
	return v
}

// SortedKeys are the names of an object's members.
func SortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Text is a scalar as the files compare it.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return "null"
	case map[string]any, []any:
		return Canonical(v)
	}
	return fmt.Sprint(v)
}
