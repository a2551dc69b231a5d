package mount

import (
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Without calls f on a thread of its own and returns what f does. Programs that f
// starts do not see the mount hidden, if it is not empty, and those that are to die
// with their parent live as long as f.
func Without(hidden string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine: it is never unlocked.
		runtime.LockOSThread()
		if hidden != "" {
			if err := hide(hidden); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return <-done
}

// hide takes a mount out of this thread's view. Only what is below its parent is cut
// off from propagation: mounts elsewhere still reach the machine.
func hide(hidden string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	above := filepath.Dir(hidden)
	if err := unix.Mount("", above, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s private: %w", above, err)
	}
	if err := unix.Unmount(hidden, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide %s: %w", hidden, err)
	}
	return nil
}
