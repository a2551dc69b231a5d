package server

import (
	"errors"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper collects the end of every child, also of those that became children
// because their parents, the OCI runtime's processes, ended. Nothing else in this
// program may wait for processes.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
	// early holds ends of processes that nobody has asked for yet, while a process
	// is being started (starting > 0).
	early    map[int]unix.WaitStatus
	starting int
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan unix.WaitStatus{}, early: map[int]unix.WaitStatus{}}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	go func() {
		for range sig {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if !status.Exited() && !status.Signaled() {
			continue
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- status
		} else if r.starting > 0 {
			r.early[pid] = status
		}
	}
}

// begin keeps ends of processes until done: between, wait finds processes that
// have ended already.
func (r *reaper) begin() {
	r.mu.Lock()
	r.starting++
	r.mu.Unlock()
}

func (r *reaper) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starting--; r.starting == 0 {
		clear(r.early)
	}
}

// wait returns a channel that delivers the end of a child.
func (r *reaper) wait(pid int) <-chan unix.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan unix.WaitStatus, 1)
	if status, ok := r.early[pid]; ok {
		delete(r.early, pid)
		c <- status
		return c
	}
	r.waiting[pid] = c
	return c
}

// signal sends a signal to a child that wait was called for; it cannot hit
// another process, since the child is not reaped while the lock is held.
func (r *reaper) signal(pid int, sig unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.waiting[pid]; !ok {
		return unix.ESRCH
	}
	return unix.Kill(pid, sig)
}

// isChild tells whether pid is a child of this process, alive or not yet reaped.
// It must be asked before the reaper may collect it.
func isChild(pid int) bool {
	var info unix.Siginfo
	return unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// exitCode is what shells make of an end: 128 and the signal.
func exitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
