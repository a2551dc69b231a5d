package local

import (
	"sync/atomic"
	"testing"
	"time"

	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/telemetry"
)

// slowTree is a tree in which expecting a move takes until it is let go.
type slowTree struct {
	*cgroup.Fake
	calls atomic.Int32
	began chan struct{}
	let   chan struct{}
}

func (s *slowTree) ExpectMove() error {
	s.calls.Add(1)
	s.began <- struct{}{}
	<-s.let
	return nil
}

// Starts at the same time share what is done for them, and none waits for it.
func TestAnticipateIsShared(t *testing.T) {
	tree := &slowTree{Fake: &cgroup.Fake{}, began: make(chan struct{}, 8), let: make(chan struct{})}
	l := &Local{cgroups: tree, tel: telemetry.Discard()}
	for range 5 {
		l.Anticipate()
	}
	<-tree.began
	l.Anticipate()
	if n := tree.calls.Load(); n != 1 {
		t.Errorf("%d moves are expected at once", n)
	}
	close(tree.let)
	for deadline := time.Now().Add(10 * time.Second); l.expecting.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first does not end")
		}
	}
	l.Anticipate()
	select {
	case <-tree.began:
	case <-time.After(10 * time.Second):
		t.Error("a later start is not prepared")
	}
}
