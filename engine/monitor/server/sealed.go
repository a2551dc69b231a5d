package server

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// sealed keeps a copy of the OCI runtime's program in memory that nobody can
// change any more. A runtime that is run from its file makes such a copy itself,
// and runs itself again from it, lest a container reach the machine's file through
// /proc (CVE-2019-5736); one that finds itself sealed already does not. Linking and
// copying it once less saves a seventh of a container's start.
type sealed struct {
	mu   sync.Mutex
	path string
	was  unix.Stat_t // the file that was copied
	fd   int
}

// runtimeSeals are exactly those that runc and crun look for.
const runtimeSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// program is what to execute for the program at path: its copy, or where that
// cannot be made, path. The name holds in this process's children.
func (s *sealed) program(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now unix.Stat_t
	if unix.Stat(path, &now) != nil {
		return path
	}
	if s.path != path || s.was.Ino != now.Ino || s.was.Dev != now.Dev || s.was.Size != now.Size || s.was.Mtim != now.Mtim {
		fd, err := seal(path)
		if err != nil {
			complain("keep a copy of %s: %v", path, err)
			fd = -1
		}
		// The old copy stays open: a start in another thread may be about to run it.
		// Runtimes change by the administrator's hand alone.
		s.path, s.was, s.fd = path, now, fd
	}
	if s.fd < 0 {
		return path
	}
	return fmt.Sprintf("/proc/self/fd/%d", s.fd)
}

func seal(path string) (fd int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer in.Close()
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("runtime", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // kernels before 6.3 know no other than executable ones
		fd, err = unix.MemfdCreate("runtime", flags)
	}
	if err != nil {
		return -1, err
	}
	// Writing through another descriptor keeps fd out of the runtime's poller.
	out, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0)
	if err == nil {
		_, err = io.Copy(out, in)
		out.Close()
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, runtimeSeals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
