package custom

import (
	"slices"
	"sync"
	"sync/atomic"
)

// lazy is a value that is made when first asked for. It is forgotten when nobody has
// asked between two calls of trim, or when its shelf is full.
type lazy[T any] struct {
	p    atomic.Pointer[T]
	used atomic.Bool
	mu   sync.Mutex // of making
}

func (l *lazy[T]) get(on *shelf, make func() (*T, error)) (*T, error) {
	if !l.used.Load() {
		l.used.Store(true)
	}
	if v := l.p.Load(); v != nil {
		return v, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.p.Load(); v != nil {
		return v, nil
	}
	v, err := make()
	if err == nil {
		l.p.Store(v)
		on.put(l)
	}
	return v, err
}

func (l *lazy[T]) trim() {
	if !l.recent() {
		l.drop()
	}
}

// recent tells whether somebody has asked since the last call.
func (l *lazy[T]) recent() bool { return l.used.Swap(false) }
func (l *lazy[T]) drop()        { l.p.Store(nil) }

type droppable interface {
	recent() bool
	drop()
}

// shelf bounds how many values are kept: the schema of an operator's definition takes
// some megabytes compiled, and hundreds may be asked for one after the other. A nil
// shelf has no bound.
type shelf struct {
	mu    sync.Mutex
	room  int
	kept  []droppable
	stick int // where the search for one to drop goes on
}

// put keeps l, in place of one that nobody has asked for lately.
func (s *shelf) put(l droppable) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.kept, l) {
		return
	}
	if len(s.kept) < s.room {
		s.kept = append(s.kept, l)
		return
	}
	for s.kept[s.stick].recent() {
		s.stick = (s.stick + 1) % len(s.kept)
	}
	s.kept[s.stick].drop()
	s.kept[s.stick] = l
	s.stick = (s.stick + 1) % len(s.kept)
}
