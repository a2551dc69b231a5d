// Package share lets objects that have much in common, such as the pods of one
// ReplicaSet or two versions of one node, hold it once in memory. It knows no
// kinds: it walks Go types. Package cache calls it on what it keeps.
//
// Nothing that exists is changed: an object that shares is a new one, of which
// every part that differs from the other object is a copy. So neither object needs
// to be owned by the caller, and both must stay as they are from then on.
package share

import "unsafe"

// With returns an object equal to obj that uses the parts of like wherever they are
// equal to its own. Objects of different types have nothing to share: obj itself is
// returned. Otherwise the struct itself is always new, so its own fields may still be
// set. Slices and maps that are nil stay different from empty ones.
func With[T any](obj, like T) T {
	n, o, p := pointers(&obj, &like)
	if p == nil || n == o {
		return obj
	}
	return p.copy(n, o).(T)
}

// plan is how values of one type are compared and shared.
type plan struct {
	size uintptr
	// flat values hold nothing that could be shared.
	flat  bool
	equal func(a, b unsafe.Pointer) bool
	// share puts parts of old into *out, a copy of the new value's own memory that
	// nobody else sees; what out points to is not changed.
	share func(out, old unsafe.Pointer)
	// copy, of pointers: what obj points to, copied and sharing with like.
	copy func(obj, like unsafe.Pointer) any
}
