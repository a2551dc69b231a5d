// Package netns is the kernel room's part for running code inside a network
// namespace: one that is pinned as a file (package namespace makes those), the
// process's own, or a new one that lives as long as it is held open.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. It stays alive until Close, also
// without processes or a pin.
type Namespace struct{ file *os.File }

// Open opens the namespace that is pinned at path.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("network namespace %s: nothing is pinned there", path)
	}
	return &Namespace{f}, nil
}

// Current opens the namespace of the calling thread.
func Current() (*Namespace, error) { return Open("/proc/thread-self/ns/net") }

// New makes a namespace that nothing else knows. Its loopback is down.
func New() (*Namespace, error) {
	type made struct {
		ns  *Namespace
		err error
	}
	done := make(chan made, 1)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, and the
		// namespace is then held by the file alone.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, fmt.Errorf("unshare network namespace: %w", err)}
			return
		}
		ns, err := Current()
		done <- made{ns, err}
	}()
	m := <-done
	return m.ns, m.err
}

// FD is the file descriptor, valid until Close.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Path names the namespace within this process, valid until Close.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/self/fd/%d", n.FD()) }

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// Do runs f on a thread inside the namespace and returns its error. Goroutines
// that f starts run outside. Sockets that f opens stay in the namespace.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := Current()
		if err != nil {
			done <- err
			return
		}
		defer before.Close()
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		// A thread that cannot come back is not unlocked and ends here.
		if unix.Setns(before.FD(), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
