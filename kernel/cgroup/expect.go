package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotSeen says that the group of this process is not below the tree's mounts.
var ErrNotSeen = errors.New("cgroup: this process's own group is not to be seen")

// ExpectMove begins what the next move of a process into a group would wait for, and
// returns when that is over. The kernel holds all forks and exits still during a move;
// the first move in a while waits until every processor has noticed (a grace period of
// RCU, 6 to 15 ms without work), and those that follow within such a time do not.
// Whoever is about to have a process moved calls this and prepares the rest meanwhile.
//
// What is moved is a thread made for it, to the group where it is.
func (t *V1) ExpectMove() error {
	return moveNowhere(func(groups string) string {
		for _, c := range []string{"pids", "freezer", "memory", "cpu"} {
			if p, ok := ownGroup(groups, c); ok && t.dir(c, p) != "" {
				return t.dir(c, p) + "/tasks"
			}
		}
		return ""
	})
}

// ExpectMove is as V1's.
func (t *V2) ExpectMove() error {
	return moveNowhere(func(groups string) string {
		if p, ok := ownGroup(groups, ""); ok {
			return strings.TrimSuffix(t.dir(p), "/") + "/cgroup.threads"
		}
		return ""
	})
}

// moveNowhere writes a thread's id to the file of its own group.
func moveNowhere(file func(groups string) string) error {
	done := make(chan error, 1)
	go func() {
		// Not unlocked: whatever becomes of the thread, it ends with this goroutine.
		runtime.LockOSThread()
		b, err := os.ReadFile("/proc/thread-self/cgroup")
		if err != nil {
			done <- fmt.Errorf("cgroup: %w", err)
			return
		}
		name := file(string(b))
		if name == "" {
			done <- ErrNotSeen
			return
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			done <- fmt.Errorf("%w: %w", ErrNotSeen, err)
			return
		}
		_, err = f.WriteString(strconv.Itoa(unix.Gettid()))
		done <- errors.Join(err, f.Close())
	}()
	return <-done
}

// ownGroup finds the path in a controller's hierarchy, or in version 2's for "", in
// the text of /proc/PID/cgroup.
func ownGroup(groups, controller string) (string, bool) {
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if controller == "" && f[0] == "0" && f[1] == "" {
			return f[2], true
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if controller != "" && c == controller {
				return f[2], true
			}
		}
	}
	return "", false
}
