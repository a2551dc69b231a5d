// Package recent remembers answers that are dear to compute, such as verified
// signatures, within a bound of memory.
package recent

import "sync"

// Map keeps at least the last n and at most the last 2n keys used. It is safe for
// concurrent use; values are shared.
type Map[K comparable, V any] struct {
	n     int
	mu    sync.Mutex
	young map[K]V
	old   map[K]V
}

// New returns a map for about n keys.
func New[K comparable, V any](n int) *Map[K, V] {
	return &Map[K, V]{n: n}
}

// Get finds a key.
func (m *Map[K, V]) Get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	if ok {
		m.put(k, v)
	}
	return v, ok
}

// Put adds a key.
func (m *Map[K, V]) Put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k, v)
}

func (m *Map[K, V]) put(k K, v V) {
	if m.young == nil || len(m.young) >= m.n {
		m.old, m.young = m.young, make(map[K]V)
	}
	m.young[k] = v
}
