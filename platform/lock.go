package platform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockDir makes dir and takes it for this process alone until the returned file
// is closed. The file holds the process id for people.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &Fault{What: "cannot make the data directory: " + err.Error(), Do: "choose another with --data-dir", Err: err}
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		pid, _ := os.ReadFile(path)
		return nil, &Fault{
			What: fmt.Sprintf("the data directory %s is in use by process %s", dir, strings.TrimSpace(string(pid))),
			Do:   "stop that one with: skiff down --data-dir " + dir + ", or choose another --data-dir",
			Err:  err,
		}
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
