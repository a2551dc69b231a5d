package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/monitor/wire"
)

// processFile in a bundle is the container's process, which execs begin from.
const processFile = "process.json"

// outputGrace is how long the output of an exec is waited for after its end, where
// processes that it left behind keep it open.
const outputGrace = 2 * time.Second

// Exec implements engine.Engine.
func (l *Local) Exec(ctx context.Context, id string, spec engine.ExecSpec, s engine.Streams) (int, error) {
	c, err := l.lookup(id)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	running, pid := c.now.State == engine.Running, c.now.PID
	l.mu.Unlock()
	if !running {
		return 0, fmt.Errorf("exec in %s: %w", id, engine.ErrNotRun)
	}
	if len(spec.Args) == 0 {
		return 0, fmt.Errorf("%w: exec without a command", engine.ErrInvalid)
	}
	dir, err := os.MkdirTemp(l.bundleDir(c.record.Spec.ID), "exec-")
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", id, engine.ErrNotRun)
	}
	defer os.RemoveAll(dir)
	var size engine.Size
	if spec.TTY {
		size = firstSize(s.Resize)
	}
	if err := l.writeProcess(c, &spec, size, pid, dir); err != nil {
		return 0, err
	}
	e := &wire.Exec{Dir: dir, TTY: spec.TTY, Detached: spec.Detached, Runtime: l.runtime.exec(l.runtimeRoot(), dir, c.record.Spec.ID, spec.TTY)}
	code, err := l.runExec(ctx, e, size, s, spec.Started)
	return code, startError("exec in "+id, spec.Args[0], err)
}

func (l *Local) writeProcess(c *container, spec *engine.ExecSpec, size engine.Size, pid int, dir string) error {
	var base specs.Process
	if err := readJSON(filepath.Join(l.bundleDir(c.record.Spec.ID), processFile), &base); err != nil {
		return fmt.Errorf("exec in %s: %w", c.record.Spec.ID, engine.ErrNotRun)
	}
	var user bundle.User
	if spec.User != "" {
		root := []string{"/proc/" + strconv.Itoa(pid) + "/root"}
		var err error
		if user, err = bundle.LookupUser(spec.User, nil, layeredFile(root, "etc", "passwd"), layeredFile(root, "etc", "group")); err != nil {
			return err
		}
	}
	p := bundle.Process(spec, &base, user, l.machine)
	if size != (engine.Size{}) {
		p.ConsoleSize = &specs.Box{Height: uint(size.Height), Width: uint(size.Width)}
	}
	return writeJSON(filepath.Join(dir, "process.json"), p)
}

// ends are the ends of pipes that another process gets.
type ends struct {
	names []string
	fds   []int
}

func (e *ends) close() {
	wire.CloseAll(e.fds)
	e.fds = nil
}

// pipe makes a pipe for a stream of the given name and returns our end. The other
// end blocks, as programs expect of their streams.
func (e *ends) pipe(name string) (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	ours, theirs := p[0], p[1]
	if name == "stdin" {
		ours, theirs = p[1], p[0]
	}
	if err := unix.SetNonblock(ours, true); err != nil {
		wire.CloseAll(p[:])
		return nil, err
	}
	e.names, e.fds = append(e.names, name), append(e.fds, theirs)
	return os.NewFile(uintptr(ours), name), nil
}

// plumbing copies between a client's streams and files.
type plumbing struct {
	outputs chan error // one for each output that has ended
	n       int
	files   []*os.File
	stdinOK chan struct{} // closed when the client's input has ended
}

func newPlumbing() *plumbing {
	return &plumbing{outputs: make(chan error, 2), stdinOK: make(chan struct{})}
}

func (p *plumbing) output(w io.Writer, f *os.File) {
	p.n++
	p.files = append(p.files, f)
	go func() {
		_, err := io.Copy(w, f)
		p.outputs <- err
	}()
}

// input copies until the client's input or the process ends. The client's reader
// may block for longer; nobody waits for it.
func (p *plumbing) input(r io.Reader, f *os.File, closeAfter bool) {
	p.files = append(p.files, f)
	go func() {
		_, err := io.Copy(f, r)
		if closeAfter {
			f.Close()
		}
		if err == nil {
			close(p.stdinOK)
		}
	}()
}

// wait waits for all output, but not for ever.
func (p *plumbing) wait(limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	for p.n > 0 {
		select {
		case <-p.outputs:
			p.n--
		case <-t.C:
			return
		}
	}
}

// close ends the copying: the client's writers are not used afterwards, save by a
// Write of theirs that hangs.
func (p *plumbing) close() {
	for _, f := range p.files {
		f.Close()
	}
	p.wait(outputGrace)
}

func (l *Local) runExec(ctx context.Context, e *wire.Exec, size engine.Size, s engine.Streams, started func(pid int)) (int, error) {
	p := newPlumbing()
	defer p.close()
	var theirs ends
	defer theirs.close()
	if !e.TTY {
		if err := p.connect(&theirs, s); err != nil {
			return 0, err
		}
	}
	req := &wire.Request{Op: wire.OpExec, Exec: e, Files: theirs.names, Width: size.Width, Height: size.Height}
	conn, err := l.mon.Open(ctx, req, theirs.fds...)
	theirs.close()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began, fds, err := conn.Recv()
	if err != nil {
		return 0, ctxError(ctx, err)
	}
	if started != nil {
		started(began.PID)
	}
	stopResize := make(chan struct{})
	defer close(stopResize)
	if len(fds) > 0 {
		master, err := p.terminal(fds[0], s)
		if err != nil {
			return 0, err
		}
		go resize(s.Resize, stopResize, func(size engine.Size) {
			if c, err := master.SyscallConn(); err == nil {
				c.Control(func(fd uintptr) {
					unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Width, Row: size.Height})
				})
			}
		})
	}
	r, _, err := conn.Recv()
	if err != nil {
		return 0, ctxError(ctx, err)
	}
	if r.Exit == nil {
		return 0, errors.New("the monitor answers something else")
	}
	p.wait(outputGrace)
	return r.Exit.Code, nil
}

func ctxError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// connect makes pipes for the client's streams.
func (p *plumbing) connect(theirs *ends, s engine.Streams) error {
	for _, out := range []struct {
		name string
		w    io.Writer
	}{{"stdout", s.Stdout}, {"stderr", s.Stderr}} {
		if out.w == nil {
			continue
		}
		f, err := theirs.pipe(out.name)
		if err != nil {
			return err
		}
		p.output(out.w, f)
	}
	if s.Stdin == nil {
		return nil
	}
	f, err := theirs.pipe("stdin")
	if err != nil {
		return err
	}
	p.input(s.Stdin, f, true)
	return nil
}

// terminal connects the client's streams with a terminal's master.
func (p *plumbing) terminal(fd int, s engine.Streams) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "terminal")
	w := s.Stdout
	if w == nil {
		w = io.Discard
	}
	p.output(w, f)
	if s.Stdin != nil {
		p.input(s.Stdin, f, false)
	}
	return f, nil
}

// firstSize is the size that is known already, if one is.
func firstSize(sizes <-chan engine.Size) engine.Size {
	select {
	case size := <-sizes:
		return size
	default:
		return engine.Size{}
	}
}

func resize(sizes <-chan engine.Size, stop <-chan struct{}, set func(engine.Size)) {
	for sizes != nil {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			set(size)
		case <-stop:
			return
		}
	}
}

// Attach implements engine.Engine.
func (l *Local) Attach(ctx context.Context, id string, s engine.Streams) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	id = c.record.Spec.ID
	p := newPlumbing()
	defer p.close()
	var theirs ends
	defer theirs.close()
	streams := s
	if c.record.Spec.TTY {
		streams.Stderr = nil
	}
	if !c.record.Spec.Stdin && !c.record.Spec.TTY {
		streams.Stdin = nil
	}
	if err := p.connect(&theirs, streams); err != nil {
		return err
	}
	req := &wire.Request{Op: wire.OpAttach, ID: id, Files: theirs.names}
	if c.record.Spec.TTY {
		size := firstSize(s.Resize)
		req.Width, req.Height = size.Width, size.Height
	}
	conn, err := l.mon.Open(ctx, req, theirs.fds...)
	theirs.close()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, _, err := conn.Recv(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return monitorError("attach "+id, err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go resize(s.Resize, stop, func(size engine.Size) {
		l.mon.Call(ctx, &wire.Request{Op: wire.OpResize, ID: id, Width: size.Width, Height: size.Height})
	})
	ended := make(chan error, 1)
	go func() {
		_, _, err := conn.Recv()
		ended <- err
	}()
	var inputOver chan struct{}
	if s.Stdout == nil && s.Stderr == nil {
		inputOver = p.stdinOK
	}
	select {
	case err := <-ended:
		p.wait(outputGrace)
		if ctx.Err() != nil {
			return nil
		}
		return err
	case <-inputOver:
		return nil
	case <-ctx.Done():
		return nil
	}
}
