package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/logs"
)

// unknownExit is the code of a process whose end nobody saw, as containerd's.
const unknownExit = 255

// adopt takes over what another monitor, or this process before it replaced its
// program, has started. terminals are masters that were kept, by id.
func (s *Server) adopt(terminals map[string]int) {
	dirs, _ := filepath.Glob(filepath.Join(s.dir, "c", "*", recordName))
	for _, file := range dirs {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var r record
		if err := json.Unmarshal(b, &r); err != nil || r.PID <= 1 {
			complain("adopt %s: not a record: %v", file, err)
			continue
		}
		if err := s.adoptTask(r, terminals); err != nil {
			complain("adopt %s: %v", r.Start.ID, err)
		}
	}
}

func (s *Server) adoptTask(r record, terminals map[string]int) error {
	t := &task{spec: r.Start, pid: r.PID, startTime: r.StartTime, startedAt: r.StartedAt, done: make(chan struct{})}
	child := isChild(r.PID)
	pidfd := -1
	if !child {
		// The descriptor first, then the look whose process it is.
		fd, err := unix.PidfdOpen(r.PID, unix.PIDFD_NONBLOCK)
		if err == nil {
			if at, err := startTime(r.PID); err != nil || (r.StartTime != 0 && at != r.StartTime) {
				unix.Close(fd)
			} else {
				pidfd = fd
			}
		}
	}
	alive := child || pidfd >= 0
	if r.Start.LogPath != "" {
		var err error
		if t.log, err = logs.NewWriter(r.Start.LogPath, r.Start.LogMaxBytes, r.Start.LogMaxFiles); err != nil {
			complain("adopt %s: %v", r.Start.ID, err)
		}
	}
	if fd, ok := terminals[r.Start.ID]; ok && alive {
		if err := t.useTerminal(fd); err != nil {
			return err
		}
	} else if r.Start.TTY {
		t.needTTY = alive
	} else {
		t.reopenPipes()
	}
	for _, o := range t.outs {
		go o.run()
	}
	s.add(t)
	s.watchOOM(t)
	switch {
	case child:
		t.signal = func(sig unix.Signal) error { return s.reaper.signal(t.pid, sig) }
		t.status = s.reaper.wait(t.pid)
		go s.waitChild(t)
	case pidfd >= 0:
		t.signal = func(sig unix.Signal) error { return unix.PidfdSendSignal(pidfd, sig, nil, 0) }
		go s.watchPidfd(t, pidfd)
	default:
		t.signal = func(unix.Signal) error { return unix.ESRCH }
		go s.ended(t, unknownExit, "it ended while no monitor ran")
	}
	return nil
}

func (t *task) reopenPipes() {
	for i, name := range []string{fifoIn, fifoOut, fifoErr} {
		if i == 0 && !t.spec.Stdin {
			continue
		}
		if err := t.openEnd(i, name); err != nil && !errors.Is(err, unix.ENXIO) {
			complain("adopt %s: %v", t.spec.ID, err)
		}
	}
}

// watchPidfd waits for the end of a process that is not a child.
func (s *Server) watchPidfd(t *task, pidfd int) {
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	if c, err := f.SyscallConn(); err == nil {
		c.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(p, 0)
			return err != nil || n > 0
		})
	}
	code, ok := exitOfOther(t.pid, t.startTime, pidfd)
	if !ok {
		s.ended(t, unknownExit, "it ended under another parent")
		return
	}
	s.ended(t, code, "")
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h.
type pidfdInfo struct {
	mask, cgroupid                                                  uint64
	pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsu, fsgid uint32
	exitCode                                                        int32
	coredump, signal                                                uint32
}

const (
	pidfdInfoExit = 1 << 3
	// PIDFD_GET_INFO is _IOWR(0xFF, 11, struct pidfd_info); the size is the
	// structure's 64 bytes of its first version.
	pidfdGetInfo = 3<<30 | 64<<16 | 0xff<<8 | 11
)

// exitOfOther finds the exit code of a process that was not a child: of a zombie
// from its stat, of one that its parent has reaped from the kernel (6.15 and
// later), which has it a moment later.
func exitOfOther(pid int, started uint64, pidfd int) (code int, ok bool) {
	for range 100 {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			if st, err := parseStat(string(b)); err == nil && st.ended && (started == 0 || st.start == started) {
				return exitCode(st.status), true
			}
		}
		info := pidfdInfo{mask: pidfdInfoExit}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		if errno == 0 && info.mask&pidfdInfoExit != 0 {
			return exitCode(unix.WaitStatus(info.exitCode)), true
		}
		if errno != 0 && errno != unix.ESRCH {
			return 0, false
		}
		time.Sleep(time.Millisecond)
	}
	return 0, false
}

// startTime is when a living process was started, in ticks since boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	st, err := parseStat(string(b))
	if err == nil && st.ended {
		err = errors.New("the process has ended")
	}
	return st.start, err
}

// procStat is some of proc_pid_stat(5).
type procStat struct {
	start  uint64 // field 22
	ended  bool
	status unix.WaitStatus // field 52, of one that has ended
}

func parseStat(text string) (s procStat, err error) {
	// The name, in parentheses, may hold anything.
	i := strings.LastIndexByte(text, ')')
	f := strings.Fields(text[i+1:])
	if i < 0 || len(f) < 50 {
		return s, fmt.Errorf("stat: %q", text)
	}
	s.ended = f[0] == "Z" || f[0] == "X"
	if s.start, err = strconv.ParseUint(f[19], 10, 64); err != nil {
		return s, err
	}
	status, err := strconv.ParseUint(f[49], 10, 32)
	s.status = unix.WaitStatus(status)
	return s, err
}
