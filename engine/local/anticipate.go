package local

import "skiff.dev/skiff/engine"

var _ engine.Anticipator = (*Local)(nil)

// mover is a tree of control groups in which moves are better expected.
type mover interface{ ExpectMove() error }

// Anticipate implements engine.Anticipator: the OCI runtime moves each process that it
// starts into a control group.
func (l *Local) Anticipate() {
	tree, ok := l.cgroups.(mover)
	if !ok || !l.expecting.CompareAndSwap(false, true) {
		return // one that is under way serves this caller too
	}
	go func() {
		defer l.expecting.Store(false)
		if err := tree.ExpectMove(); err != nil {
			l.tel.Log.Debug("starts of processes wait for the kernel", "err", err)
		}
	}()
}
