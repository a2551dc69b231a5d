package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// initProcess is a container's init: it runs the command after "--" as its child,
// hands signals on to it, reaps what else ends, and exits as the child does.
func initProcess(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "docker-init: no command")
		return 1
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "[FATAL docker-init (1)] exec %s failed: %v\n", args[0], errors.Unwrap(err))
		if errors.Is(err, fs.ErrPermission) {
			return 126
		}
		return 127
	}
	sig := make(chan os.Signal, 64)
	signal.Notify(sig)
	// Its own process group, which the terminal, if there is one, listens to.
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	child, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "[FATAL docker-init (1)] exec %s failed: %v\n", args[0], err)
		return 126
	}
	for s := range sig {
		switch s {
		case unix.SIGCHLD:
			if code, ended := reap(child); ended {
				return code
			}
		case unix.SIGURG, unix.SIGTTIN, unix.SIGTTOU:
		default:
			unix.Kill(child, s.(unix.Signal))
		}
	}
	return 0
}

// reap collects all that have ended, and tells how the child did.
func reap(child int) (code int, ended bool) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return code, ended
		}
		if pid == child {
			code, ended = st.ExitStatus(), true
			if st.Signaled() {
				code = 128 + int(st.Signal())
			}
		}
	}
}
