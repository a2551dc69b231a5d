package custom

import "testing"

// TestShelf: a full shelf drops what nobody has asked for lately, and makes it again.
func TestShelf(t *testing.T) {
	s := &shelf{room: 2}
	made := map[string]int{}
	get := func(l *lazy[string], name string) {
		t.Helper()
		v, err := l.get(s, func() (*string, error) { made[name]++; return &name, nil })
		if err != nil || *v != name {
			t.Fatal(v, err)
		}
	}
	var a, b, c lazy[string]
	get(&a, "a")
	get(&b, "b")
	get(&c, "c") // a or b goes
	get(&c, "c")
	if made["c"] != 1 || len(s.kept) != 2 {
		t.Error(made, len(s.kept))
	}
	get(&a, "a")
	get(&b, "b")
	if made["a"]+made["b"] < 3 || made["a"]+made["b"] > 4 {
		t.Error(made)
	}
	a.trim()
	a.trim()
	get(&a, "a")
	if a.p.Load() == nil {
		t.Error("made again")
	}
}
