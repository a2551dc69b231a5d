package loop

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Expectations tell a reconciler that its cache does not show its own last writes
// yet: until what it created and deleted has been seen it must not count again.
// Waiting ends after five minutes, should an event never come. See
// UIDTrackingControllerExpectations in Kubernetes.
type Expectations struct {
	mu sync.Mutex
	of map[types.UID]*expectation
}

type expectation struct {
	creations int
	deletions map[types.UID]bool
	since     time.Time
}

const expectationLimit = 5 * time.Minute

// Expect notes writes about to be made; creations counts, deletions names.
func (x *Expectations) Expect(owner types.UID, creations int, deletions ...types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.of == nil {
		x.of = map[types.UID]*expectation{}
	}
	e := &expectation{creations: creations, deletions: map[types.UID]bool{}, since: time.Now()}
	for _, uid := range deletions {
		e.deletions[uid] = true
	}
	x.of[owner] = e
}

// Created notes that one creation was seen, or will never be.
func (x *Expectations) Created(owner types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.of[owner]; e != nil {
		e.creations--
	}
}

// Deleted notes that a deletion was seen, or will never be.
func (x *Expectations) Deleted(owner types.UID, uid types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.of[owner]; e != nil {
		delete(e.deletions, uid)
	}
}

// Met tells whether the cache shows everything that was written.
func (x *Expectations) Met(owner types.UID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.of[owner]
	return e == nil || e.creations <= 0 && len(e.deletions) == 0 || time.Since(e.since) > expectationLimit
}

// Forget drops what is known of an owner that is gone.
func (x *Expectations) Forget(owner types.UID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.of, owner)
}
