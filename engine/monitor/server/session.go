package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/wire"
)

// eventBuffer is how far a reader of events may lag before it is cut off; it
// then connects again and gets all tasks anew.
const eventBuffer = 1024

func (s *Server) publish(e wire.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.readers {
		select {
		case c <- e:
		default:
			delete(s.readers, c)
			close(c)
		}
	}
}

// events sends every task and then each change until the client goes away.
func (s *Server) events(c *net.UnixConn) {
	ch := make(chan wire.Event, eventBuffer)
	s.mu.Lock()
	s.readers[ch] = struct{}{}
	s.mu.Unlock()
	drop := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.readers[ch]; ok {
			delete(s.readers, ch)
			close(ch)
		}
	}
	defer drop()
	for _, t := range s.all() {
		if wire.Send(c, &wire.Reply{Event: &wire.Event{Type: wire.EventTask, Task: t.info()}}) != nil {
			return
		}
	}
	if wire.Send(c, &wire.Reply{Event: &wire.Event{Type: wire.EventSynced}}) != nil {
		return
	}
	go func() {
		c.Read(make([]byte, 1)) // returns when the client goes away
		drop()
	}()
	for e := range ch {
		if wire.Send(c, &wire.Reply{Event: &e}) != nil {
			return
		}
	}
}

// attach connects the files of a request with a container's streams. It answers
// when they are connected, so that the client misses nothing from then on, and
// when the container's output or the connection ends.
func (s *Server) attach(c *net.UnixConn, r *wire.Request, fds []int) {
	t, err := s.get(r.ID)
	if err == nil && t.info().Exit != nil {
		err = &kindError{wire.KindNotRun, "container " + r.ID + " does not run"}
	}
	if err == nil && t.info().NeedTerminal {
		err = fmt.Errorf("the terminal of container %s is not there yet, or lost", r.ID)
	}
	if err != nil {
		wire.CloseAll(fds)
		wire.Send(c, failed(err))
		return
	}
	if t.terminal != nil && r.Width > 0 && r.Height > 0 {
		t.resize(r.Width, r.Height)
	}
	detach := t.connect(r.Files, fds)
	defer func() {
		for _, f := range detach {
			f()
		}
	}()
	if wire.Send(c, &wire.Reply{}) != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		c.Read(make([]byte, 1))
		close(gone)
	}()
	select {
	case <-gone:
	case <-t.done:
		wire.Send(c, &wire.Reply{Exit: t.info().Exit})
	}
}

// connect joins a client's files with the streams, and returns what takes its
// outputs away again.
func (t *task) connect(names []string, fds []int) (detach []func()) {
	for i, fd := range fds {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		switch {
		case name == fifoIn:
			unix.SetNonblock(fd, true)
			in := os.NewFile(uintptr(fd), "attached stdin")
			// What the client has sent is fed to its end, also when it goes away.
			go t.feed(in)
		case t.output(name) != nil:
			o := t.output(name)
			f, err := o.attach(fd)
			if err != nil {
				unix.Close(fd)
				continue
			}
			detach = append(detach, func() { o.detach(f) })
		default:
			unix.Close(fd)
		}
	}
	return detach
}

// output is the stream of that name; a terminal has only one.
func (t *task) output(name string) *output {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.outs {
		if o.split.Stream == name {
			return o
		}
	}
	return nil
}

// feed copies a client's input to the container.
func (t *task) feed(in *os.File) {
	defer in.Close()
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			t.mu.Lock()
			to := t.stdin
			t.mu.Unlock()
			if to == nil {
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	if !t.spec.StdinOnce || t.spec.TTY {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stdin != nil {
		t.stdin.Close()
		t.stdin = nil
	}
}

// exec runs a further process with the files of the request as its streams. When
// the client goes away before its end, it is killed.
func (s *Server) exec(c *net.UnixConn, r *wire.Request, fds []int) {
	pid, master, ended, err := s.startExec(r, fds)
	wire.CloseAll(fds)
	if err != nil {
		wire.Send(c, failed(err))
		return
	}
	var out []int
	if master >= 0 {
		out = append(out, master)
	}
	err = wire.Send(c, &wire.Reply{PID: pid}, out...)
	wire.CloseAll(out)
	gone := make(chan struct{})
	go func() {
		c.Read(make([]byte, 1))
		close(gone)
	}()
	if err == nil {
		select {
		case status := <-ended:
			wire.Send(c, &wire.Reply{Exit: &wire.Exit{Code: exitCode(status)}})
			return
		case <-gone:
		}
	}
	if err != nil || !r.Exec.Detached {
		s.reaper.signal(pid, unix.SIGKILL)
	}
	<-ended
}

func (s *Server) startExec(r *wire.Request, fds []int) (pid, master int, ended <-chan unix.WaitStatus, err error) {
	master = -1
	if r.Exec == nil || len(r.Exec.Runtime.Args) == 0 {
		return 0, -1, nil, fmt.Errorf("exec: the request is incomplete")
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, -1, nil, err
	}
	defer unix.Close(null)
	stdio := [3]int{null, null, null}
	for i, name := range r.Files {
		for j, std := range []string{fifoIn, fifoOut, fifoErr} {
			if name == std {
				stdio[j] = fds[i]
			}
		}
	}
	var con *console
	if r.Exec.TTY {
		if con, err = listenConsole(r.Exec.Dir); err != nil {
			return 0, -1, nil, err
		}
		defer con.close()
		con.await(r.Width, r.Height)
	}
	s.reaper.begin()
	defer s.reaper.done()
	if err = s.call(r.Exec.Runtime, nil, stdio); err != nil {
		return 0, -1, nil, err
	}
	if pid, err = readPID(r.Exec.Runtime.PID); err != nil {
		return 0, -1, nil, err
	}
	ended = s.reaper.wait(pid)
	if con != nil {
		if master, err = con.master(); err != nil {
			s.reaper.signal(pid, unix.SIGKILL)
			return 0, -1, nil, err
		}
	}
	return pid, master, ended, nil
}

// pause runs the process that keeps a PID namespace: this program, under another
// name and with nothing to do but to reap.
func (s *Server) pause() (*wire.Reply, error) {
	s.reaper.begin()
	defer s.reaper.done()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"pause"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("pause: %w", err)
	}
	return &wire.Reply{PID: pid}, nil
}

// TerminalsEnv hands the descriptors of terminals to the program that takes this
// one's place: "id=fd,id=fd".
const TerminalsEnv = "SKIFF_MONITOR_TERMINALS"

// replace executes another program in this process: children stay children, and
// what they write waits in their pipes meanwhile.
func (s *Server) replace(path string) {
	var keep []string
	for _, t := range s.all() {
		if t.terminal != nil {
			if fd, err := unix.Dup(fdOf(t.terminal)); err == nil { // without close-on-exec
				keep = append(keep, fmt.Sprintf("%s=%d", t.spec.ID, fd))
			}
		}
		for _, o := range t.outs {
			o.stop()
			<-o.done
		}
	}
	env := append(os.Environ(), TerminalsEnv+"="+strings.Join(keep, ","))
	err := syscall.Exec(path, []string{filepath.Base(path), "serve", s.dir}, env)
	complain("replace by %s: %v", path, err)
	os.Exit(1) // a new monitor adopts what runs
}
