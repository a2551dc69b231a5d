package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
	path, err := lookPath(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "[FATAL docker-init (1)] exec %s failed: %v\n", args[0], err)
		if errors.Is(err, unix.EACCES) {
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

// lookPath finds a program as shells do.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, unix.Access(name, unix.X_OK)
	}
	var err error = unix.ENOENT
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		switch aerr := unix.Access(path, unix.X_OK); aerr {
		case nil:
			if st, serr := os.Stat(path); serr == nil && !st.IsDir() {
				return path, nil
			}
		case unix.EACCES:
			err = aerr
		}
	}
	return "", err
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
