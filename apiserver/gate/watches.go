package gate

import "sync"

// Watches counts the watches that a write may be told to (watch_tracker). The zero
// value is ready.
type Watches struct {
	mu sync.RWMutex
	m  map[Watched]int
}

// Watched names what is watched: all of a resource, a namespace's, or one object.
type Watched struct{ Group, Resource, Namespace, Name string }

// Add counts a watch until the returned func is called.
func (w *Watches) Add(k Watched) (forget func()) {
	w.add(k, 1)
	return func() { w.add(k, -1) }
}

func (w *Watches) add(k Watched, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[Watched]int{}
	}
	if w.m[k] += n; w.m[k] == 0 {
		delete(w.m, k)
	}
}

// Interested is how many watches may be told of a write to k.
func (w *Watches) Interested(k Watched) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.m) == 0 {
		return 0
	}
	n := w.m[Watched{Group: k.Group, Resource: k.Resource}]
	if k.Namespace != "" {
		n += w.m[Watched{Group: k.Group, Resource: k.Resource, Namespace: k.Namespace}]
	}
	if k.Name != "" {
		n += w.m[k]
	}
	return n
}
