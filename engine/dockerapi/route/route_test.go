package route

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path, value string
		ok                   bool
	}{
		{"/a", "/a", "", true},
		{"/a", "/a/b", "", false},
		{"/images/{name}/json", "/images/x/y:1/json", "x/y:1", true},
		{"/images/{name}/json", "/images/json", "", false},
		{"/images/{name}/json", "/images//json", "", false},
		{"/c/{name}/checkpoints/*", "/c/x/checkpoints/one", "x", true},
		{"/c/{name}/checkpoints/*", "/c/x/checkpoints", "", false},
		{"/c/{name}/checkpoints/*", "/c/x/checkpoints/", "", false},
		{"/c/*", "/c/x", "", true},
		{"/c/*", "/c", "", false},
		{"/c/*", "", "", false},
	} {
		r := Get(c.pattern, nil)
		if _, value, ok := r.Match("GET", c.path); ok != c.ok || value != c.value {
			t.Errorf("%s %s: %q %v", c.pattern, c.path, value, ok)
		}
	}
}
