// Package server is the monitor: it parents all containers of a node and outlives
// skiff. It is small on purpose: the standard library and golang.org/x/sys alone,
// no work while nothing happens, and all state that matters also on disk, so that
// another monitor can adopt the containers when this one dies.
package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/wire"
)

// SocketName and LockName are the monitor's files in its directory.
const (
	SocketName = "monitor.sock"
	LockName   = "monitor.lock"
)

// Server is one monitor.
type Server struct {
	dir    string
	build  string
	listen *net.UnixListener
	reaper *reaper
	oom    oomWatch
	sealed sealed

	mu      sync.Mutex
	tasks   map[string]*task
	readers map[chan wire.Event]struct{}
	quit    chan struct{}
}

func complain(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "monitor: "+format+"\n", args...)
}

// Run serves until it is shut down. ready is called when the socket listens.
// Another monitor in the same directory is an error.
func Run(dir, build string, terminals map[string]int, ready func()) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, LockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another monitor runs in %s: %w", dir, err)
	}
	s := &Server{dir: dir, build: build, tasks: map[string]*task{}, readers: map[chan wire.Event]struct{}{}, quit: make(chan struct{})}
	s.startOOMWatch()
	s.reaper = newReaper()
	s.reaper.begin()
	s.adopt(terminals)
	s.reaper.done()
	s.reaper.collect()
	path := filepath.Join(dir, SocketName)
	os.Remove(path)
	addr, d, err := wire.Address(path)
	if err != nil {
		return err
	}
	unix.Umask(0o077)
	s.listen, err = net.ListenUnix("unix", addr)
	d.Close()
	if err != nil {
		return err
	}
	s.listen.SetUnlinkOnClose(false)
	unix.Umask(0o022)
	go s.accept()
	ready()
	<-s.quit
	os.Remove(path)
	return nil
}

func (s *Server) accept() {
	for {
		c, err := s.listen.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				complain("accept: %v", err)
			}
			return
		}
		go func() {
			defer c.Close()
			if err := checkPeer(c); err != nil {
				complain("%v", err)
				return
			}
			s.serve(c)
		}()
	}
}

// checkPeer lets root in, and who runs this program.
func checkPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, cerr); err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d may not talk to the monitor", cred.Uid)
	}
	return nil
}

func (s *Server) serve(c *net.UnixConn) {
	var r wire.Request
	fds, err := wire.Recv(c, &r)
	if err != nil {
		return
	}
	if len(fds) != len(r.Files) {
		wire.CloseAll(fds)
		wire.Send(c, failed(fmt.Errorf("%d files came with %d names", len(fds), len(r.Files))))
		return
	}
	if r.V != wire.Version && r.Op != wire.OpHello && r.Op != wire.OpReplace {
		wire.CloseAll(fds)
		wire.Send(c, &wire.Reply{Error: fmt.Sprintf("this monitor speaks version %d, not %d", wire.Version, r.V), Kind: wire.KindVersion})
		return
	}
	switch r.Op {
	case wire.OpExec:
		s.exec(c, &r, fds)
		return
	case wire.OpAttach:
		s.attach(c, &r, fds)
		return
	case wire.OpEvents:
		wire.CloseAll(fds)
		s.events(c)
		return
	case wire.OpStart:
		s.serveStart(c, &r, fds)
		return
	}
	reply, err := s.simple(&r, fds)
	if err != nil {
		reply = failed(err)
	}
	wire.Send(c, reply)
	if err == nil && r.Op == wire.OpShutdown {
		close(s.quit)
	}
	if err == nil && r.Op == wire.OpReplace {
		c.Close()
		s.replace(r.Path)
	}
}

func failed(err error) *wire.Reply {
	r := &wire.Reply{Error: err.Error()}
	var se *startError
	var ke *kindError
	switch {
	case errors.As(err, &se):
		r.Kind, r.Code = wire.KindStart, se.code
	case errors.As(err, &ke):
		r.Kind = ke.kind
	}
	return r
}

// kindError is an error that skiff tells from others.
type kindError struct{ kind, text string }

func (e *kindError) Error() string { return e.text }

// simple answers the requests that need one reply.
func (s *Server) simple(r *wire.Request, fds []int) (*wire.Reply, error) {
	if r.Op != wire.OpTerminal {
		wire.CloseAll(fds)
	}
	switch r.Op {
	case wire.OpHello:
		return &wire.Reply{Hello: &wire.Hello{V: wire.Version, Build: s.build, PID: os.Getpid()}}, nil
	case wire.OpPause:
		return s.pause()
	case wire.OpShutdown:
		for _, t := range s.all() {
			select {
			case <-t.done:
			default:
				return nil, &kindError{wire.KindBusy, "container " + t.spec.ID + " runs"}
			}
		}
		return &wire.Reply{}, nil
	case wire.OpReplace:
		return &wire.Reply{}, nil
	case wire.OpResize, wire.OpSignal, wire.OpReopen, wire.OpForget, wire.OpTerminal:
		t, err := s.get(r.ID)
		if err != nil {
			if r.Op == wire.OpTerminal {
				wire.CloseAll(fds)
			}
			return nil, err
		}
		return &wire.Reply{}, s.simpleTask(t, r, fds)
	}
	return nil, fmt.Errorf("unknown request %q", r.Op)
}

func (s *Server) simpleTask(t *task, r *wire.Request, fds []int) error {
	t.mu.Lock()
	exited := t.exit != nil
	t.mu.Unlock()
	switch {
	case r.Op == wire.OpForget && !exited:
		return &kindError{wire.KindBusy, "container " + r.ID + " runs"}
	case r.Op == wire.OpForget:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.tasks[r.ID] == t {
			delete(s.tasks, r.ID)
		}
		return nil
	case exited:
		wire.CloseAll(fds)
		return &kindError{wire.KindNotRun, "container " + r.ID + " does not run"}
	case r.Op == wire.OpSignal:
		err := t.signal(unix.Signal(r.Signal))
		if errors.Is(err, unix.ESRCH) {
			return &kindError{wire.KindNotRun, "container " + r.ID + " has ended"}
		}
		return err
	case r.Op == wire.OpReopen:
		if t.log == nil {
			return nil
		}
		return t.log.Reopen()
	case r.Op == wire.OpTerminal:
		return t.giveTerminal(fds)
	default:
		return t.resize(r.Width, r.Height)
	}
}

func (t *task) resize(w, h uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.terminal == nil {
		return errors.New("the container has no terminal")
	}
	return setSize(t.terminal, w, h)
}

func setSize(f *os.File, w, h uint16) error {
	return unix.IoctlSetWinsize(fdOf(f), unix.TIOCSWINSZ, &unix.Winsize{Col: w, Row: h})
}

// giveTerminal accepts the master that skiff has kept for an adopted task.
func (t *task) giveTerminal(fds []int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(fds) != 1 || !t.needTTY {
		wire.CloseAll(fds)
		return errors.New("no terminal is needed")
	}
	if err := t.useTerminal(fds[0]); err != nil {
		return err
	}
	t.needTTY = false
	go t.outs[len(t.outs)-1].run()
	return nil
}

func (s *Server) add(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[t.spec.ID] = t
}

func (s *Server) get(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil {
		return t, nil
	}
	return nil, &kindError{wire.KindNotFound, "container " + id + " is not known to the monitor"}
}

func (s *Server) all() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*task, 0, len(s.tasks))
	for _, t := range s.tasks {
		if t != nil {
			out = append(out, t)
		}
	}
	return out
}

// serveStart holds the id while the container is being started.
func (s *Server) serveStart(c *net.UnixConn, r *wire.Request, files []int) {
	defer func() { wire.CloseAll(files) }()
	if r.Start == nil || r.Start.ID == "" || strings.ContainsAny(r.Start.ID, "/\x00") || len(r.Start.Runtime.Args) == 0 {
		wire.Send(c, failed(errors.New("start: the request is incomplete")))
		return
	}
	id := r.Start.ID
	s.mu.Lock()
	old, held := s.tasks[id]
	if held && (old == nil || old.info().Exit == nil) {
		s.mu.Unlock()
		wire.Send(c, failed(&kindError{wire.KindExists, "container " + id + " runs already"}))
		return
	}
	s.tasks[id] = nil
	s.mu.Unlock()
	t, err := s.start(*r.Start, func(t *task) {
		t.connect(r.Files, files) // until their streams end
		files = nil
	})
	s.mu.Lock()
	if err != nil {
		delete(s.tasks, id)
	} else {
		s.tasks[id] = t
	}
	s.mu.Unlock()
	if err != nil {
		wire.Send(c, failed(err))
		return
	}
	info := t.info()
	s.publish(wire.Event{Type: wire.EventStart, Task: info})
	sendWith(c, &wire.Reply{Task: &info}, t.terminal)
	s.waitChild(t)
}

// sendWith sends a reply and, unless it is nil or closed, a file, which stays open
// until it is sent: a process that ends at once has its terminal closed meanwhile, and
// the number could be another file's.
func sendWith(c *net.UnixConn, reply *wire.Reply, f *os.File) {
	if f != nil {
		if raw, err := f.SyscallConn(); err == nil && raw.Control(func(fd uintptr) { wire.Send(c, reply, int(fd)) }) == nil {
			return
		}
	}
	wire.Send(c, reply)
}

func (s *Server) waitChild(t *task) { s.ended(t, exitCode(<-t.status), "") }
