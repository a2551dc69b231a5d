package server

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/wire"
)

// oomWatch wakes when the kernel has killed in a watched group: one eventfd for
// all groups of version 1, one inotify for all of version 2. Which group it was is
// found by comparing counters.
type oomWatch struct {
	event  *os.File
	notify *os.File
}

func (s *Server) startOOMWatch() {
	if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		s.oom.event = os.NewFile(uintptr(fd), "eventfd")
		go s.oomLoop(s.oom.event)
	}
	if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		s.oom.notify = os.NewFile(uintptr(fd), "inotify")
		go s.oomLoop(s.oom.notify)
	}
}

func (s *Server) oomLoop(f *os.File) {
	buf := make([]byte, 1024)
	for {
		if _, err := f.Read(buf); err != nil {
			return
		}
		for _, t := range s.all() {
			select {
			case <-t.done:
			default:
				s.checkOOM(t)
			}
		}
	}
}

func fdOf(f *os.File) int {
	fd := -1
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(v uintptr) { fd = int(v) })
	}
	return fd
}

func (s *Server) watchOOM(t *task) {
	switch {
	case t.spec.OOMFile == "":
	case t.spec.OOMControl != "" && s.oom.event != nil:
		f, err := os.Open(t.spec.OOMFile)
		if err != nil {
			return
		}
		defer f.Close()
		os.WriteFile(t.spec.OOMControl, fmt.Appendf(nil, "%d %d", fdOf(s.oom.event), fdOf(f)), 0)
	case t.spec.OOMControl == "" && s.oom.notify != nil:
		unix.InotifyAddWatch(fdOf(s.oom.notify), t.spec.OOMFile, unix.IN_MODIFY)
	}
}

// checkOOM reads the counter and tells when it has grown.
func (s *Server) checkOOM(t *task) {
	if t.spec.OOMFile == "" {
		return
	}
	b, err := os.ReadFile(t.spec.OOMFile)
	if err != nil {
		return
	}
	n := oomKills(b)
	t.mu.Lock()
	grown := n > t.ooms
	t.ooms = max(n, t.ooms)
	t.mu.Unlock()
	if grown {
		s.publish(wire.Event{Type: wire.EventOOM, Task: t.info()})
	}
}

func oomKills(b []byte) uint64 {
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("oom_kill ")); ok {
			n, _ := strconv.ParseUint(string(v), 10, 64)
			return n
		}
	}
	return 0
}
