package recent

import "testing"

func TestBound(t *testing.T) {
	m := New[int, int](4)
	for i := range 100 {
		m.Put(i, i)
		if _, ok := m.Get(0); !ok {
			t.Fatalf("a key in use was forgotten after %d others", i)
		}
	}
	known := 0
	for i := range 100 {
		if len(m.young)+len(m.old) > 8 {
			t.Fatalf("%d keys", len(m.young)+len(m.old))
		}
		if v, ok := m.Get(i); ok {
			if known++; v != i {
				t.Errorf("%d is %d", i, v)
			}
		}
	}
	if known < 4 || known > 8 {
		t.Errorf("%d keys known", known)
	}
	if _, ok := New[int, int](1).Get(1); ok {
		t.Error("an empty map knows a key")
	}
}
