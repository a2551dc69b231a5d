package apiserver

import (
	"strings"
	"testing"
)

func TestLongWarningsAreCut(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name  string
		texts []string
		want  []int // lengths
	}{
		{"short", []string{"a", "", "bc"}, []int{1, 2}},
		{"just fits", []string{x(4000), x(96)}, []int{4000, 96}},
		{"one too long", []string{x(5000)}, []int{256}},
		{"together too long", []string{x(4000), x(97), x(3)}, []int{256, 97, 3}},
		{"too many", []string{x(4000), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300), x(300)},
			[]int{256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256}},
	} {
		got := warningHeaders(c.texts)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d headers, want %d", c.name, len(got), len(c.want))
			continue
		}
		for i := range got {
			if n := len(got[i]) - len(`299 - ""`); n != c.want[i] {
				t.Errorf("%s: header %d has %d characters, want %d", c.name, i, n, c.want[i])
			}
		}
	}
}
