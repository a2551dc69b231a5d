package custom

import (
	"sync"
	"sync/atomic"
)

// lazy is a value that is made when first asked for and forgotten when nobody has
// asked between two calls of trim.
type lazy[T any] struct {
	p    atomic.Pointer[T]
	used atomic.Bool
	mu   sync.Mutex // of making
}

func (l *lazy[T]) get(make func() (*T, error)) (*T, error) {
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
	}
	return v, err
}

func (l *lazy[T]) trim() {
	if !l.used.Swap(false) {
		l.p.Store(nil)
	}
}
