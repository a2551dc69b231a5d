package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/kernel/mount"
)

// call runs the OCI runtime with the given standard streams and waits for its
// end. It runs in mounts of its own, a copy of the machine's at this moment, with
// the container's root mounted and, where crun needs it, version 2's control
// groups taken away; the container inherits them, and they end with it, so that
// nothing is ever left mounted on the machine.
func (s *Server) call(r wire.Runtime, root *wire.Rootfs, stdio [3]int) error {
	os.Remove(r.Log)
	os.Remove(r.PID)
	type result struct {
		pid int
		err error
	}
	forked := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if !ownMounts(r, root) {
			defer runtime.UnlockOSThread()
		} // else the thread ends with this goroutine, and its mounts with the thread
		pid, err := forkRuntime(s.sealed.program(r.Args[0]), r, root, stdio)
		forked <- result{pid, err}
	}()
	f := <-forked
	if f.err != nil {
		return f.err
	}
	status := <-s.reaper.wait(f.pid)
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	return runtimeError(r, status)
}

func ownMounts(r wire.Runtime, root *wire.Rootfs) bool { return root != nil || r.HideMount != "" }

// forkRuntime starts program, which is Args[0] or its copy.
func forkRuntime(program string, r wire.Runtime, root *wire.Rootfs, stdio [3]int) (int, error) {
	if ownMounts(r, root) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return 0, fmt.Errorf("unshare mounts: %w", err)
		}
	}
	if r.HideMount != "" {
		// Only this subtree is cut off from propagation: mounts elsewhere go on to
		// reach the machine and to be reached.
		if err := unix.Mount("", r.HideParent, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return 0, fmt.Errorf("make %s private: %w", r.HideParent, err)
		}
		if err := unix.Unmount(r.HideMount, unix.MNT_DETACH); err != nil {
			return 0, fmt.Errorf("hide %s: %w", r.HideMount, err)
		}
	}
	if root != nil {
		if err := mountRoot(root); err != nil {
			return 0, err
		}
	}
	files := make([]uintptr, 3)
	for i, fd := range stdio {
		files[i] = uintptr(fd)
	}
	pid, err := syscall.ForkExec(program, r.Args, &syscall.ProcAttr{
		Dir:   filepath.Dir(r.PID),
		Env:   os.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", r.Args[0], err)
	}
	return pid, nil
}

func mountRoot(root *wire.Rootfs) error {
	// Relative names keep many layers within the page that mount(2) takes. The
	// directory is this thread's own: unsharing mounts unshares it too.
	if root.Base != "" {
		if err := unix.Chdir(root.Base); err != nil {
			return fmt.Errorf("chdir %s: %w", root.Base, err)
		}
	}
	return mount.Overlay{Lower: root.Lower, Upper: root.Upper, Work: root.Work}.Mount(root.Target)
}

// startError is the runtime's refusal to execute a process.
type startError struct {
	code    int
	message string
}

func (e *startError) Error() string { return e.message }

// runtimeError reads why the runtime failed from its log.
func runtimeError(r wire.Runtime, status unix.WaitStatus) error {
	b, _ := os.ReadFile(r.Log)
	msg := lastError(b)
	if msg == "" {
		msg = fmt.Sprintf("%s ended with %d and said nothing", r.Args[0], exitCode(status))
	}
	return classify(msg)
}

// lastError finds the message of the last error in a runtime's log of JSON lines.
func lastError(log []byte) string {
	var out string
	for line := range bytes.Lines(log) {
		var rec struct{ Level, Msg string }
		if json.Unmarshal(line, &rec) != nil {
			if t := strings.TrimSpace(string(line)); t != "" {
				out = t
			}
			continue
		}
		if rec.Level == "error" || rec.Level == "fatal" || rec.Level == "" {
			out = rec.Msg
		}
	}
	return out
}

// classify gives the exit code that shells and Docker give for a command that
// cannot be run: 127 when there is none, 126 when it may not be executed, else
// 128. The words are crun's and runc's.
func classify(msg string) error {
	low := strings.ToLower(msg)
	e := &startError{code: 128, message: msg}
	ofCommand := strings.Contains(low, "exec") || strings.Contains(low, "open executable") || strings.Contains(low, "find command")
	switch {
	case !ofCommand:
	case strings.Contains(low, "not found"), strings.Contains(low, "no such file"):
		e.code = 127
	case strings.Contains(low, "permission denied"), strings.Contains(low, "is a directory"), strings.Contains(low, "exec format error"), strings.Contains(low, "not permitted"):
		e.code = 126
	}
	return e
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("the runtime left no process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, errors.New("the runtime left a process id that is none: " + string(b))
	}
	return pid, nil
}

// console listens for the terminal's master that a runtime sends.
type console struct {
	path string
	fd   int
	got  chan terminal
}

func listenConsole(dir string) (*console, error) {
	c := &console{path: filepath.Join(dir, consoleName)}
	os.Remove(c.path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c.fd = fd
	addr, d, err := wire.Address(c.path)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: addr.Name})
		d.Close()
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("console socket: %w", err)
	}
	return c, nil
}

const consoleName = "console.sock"

// await takes the terminal as soon as the runtime sends it, which is before it
// executes the process, and gives it its size.
func (c *console) await(w, h uint16) {
	c.got = make(chan terminal, 1)
	go func() {
		fd, err := c.receive()
		if err == nil && w > 0 && h > 0 {
			unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: w, Row: h})
		}
		c.got <- terminal{fd, err}
	}()
}

type terminal struct {
	fd  int
	err error
}

// master returns the terminal after the runtime has ended.
func (c *console) master() (int, error) {
	unix.Shutdown(c.fd, unix.SHUT_RDWR) // wakes an accept that waits in vain
	t := <-c.got
	c.got = nil
	return t.fd, t.err
}

func (c *console) receive() (int, error) {
	conn, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("the runtime sent no terminal: %w", err)
	}
	defer unix.Close(conn)
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	_, oobn, _, _, err := unix.Recvmsg(conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("terminal: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return -1, fmt.Errorf("terminal: %w", err)
	}
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil && len(fds) > 0 {
			wire.CloseAll(fds[1:])
			return fds[0], nil
		}
	}
	return -1, errors.New("the runtime sent no terminal")
}

func (c *console) close() {
	if c.got != nil {
		if fd, err := c.master(); err == nil {
			unix.Close(fd)
		}
	}
	unix.Close(c.fd)
	os.Remove(c.path)
}
