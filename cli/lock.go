package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is the file in a directory that a running skiff holds locked. It holds
// the process id. The lock is the open file's (fcntl(2), F_OFD_SETLK): unlike
// flock's it can be looked at without being taken, so that looking never makes a
// start fail.
const lockFile = "lock"

// HeldError says that another process has the directory.
type HeldError struct {
	Dir string
	PID int // 0 if it is not known
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s is in use by process %d", e.Dir, e.PID) }

func whole(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind} }

// Lock takes dir, which exists, for this process alone until the file is closed.
// The file may be removed while it is held. A *HeldError: another one has it.
func Lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, whole(unix.F_WRLCK))
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			f.Close()
			return nil, &HeldError{Dir: dir, PID: lockPID(path)}
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// Who had it may have removed it between our opening and locking it.
		if !isAt(f, path) {
			f.Close()
			continue
		}
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
		}
		if err != nil && !errors.Is(err, unix.ENOSPC) { // the number is for people
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// Holder tells which process holds dir, if one does, without disturbing anybody.
func Holder(dir string) (pid int, held bool) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	lock := whole(unix.F_WRLCK)
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lock) != nil || lock.Type == unix.F_UNLCK || !isAt(f, path) {
		return 0, false
	}
	return lockPID(path), true
}

func isAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(have, there)
}

func lockPID(path string) int {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}
