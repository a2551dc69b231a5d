package enginetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/logs"
)

// Program is what a fake container runs; it returns the exit code. ctx ends when
// the container is killed; the exit code is then 137 whatever is returned. A
// program must return when ctx ends.
type Program func(ctx context.Context, p *Process) int

// Process is a Program's view of itself.
type Process struct {
	Spec           engine.ContainerSpec
	PID            int
	Stdin          io.Reader // ends at once when the container has none
	Stdout, Stderr io.Writer
	Signals        <-chan string // all but SIGKILL
}

// Exits is a program that prints output to stdout and exits with code.
func Exits(code int, output string) Program {
	return func(ctx context.Context, p *Process) int {
		io.WriteString(p.Stdout, output)
		return code
	}
}

// RunsFor is a program that exits with code after d, or at once with 143 on a
// signal.
func RunsFor(d time.Duration, code int) Program {
	return func(ctx context.Context, p *Process) int {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return code
		case <-p.Signals:
			return 143
		case <-ctx.Done():
			return 137
		}
	}
}

// IgnoresSignals is a program that runs until it is killed.
func IgnoresSignals() Program {
	return func(ctx context.Context, p *Process) int {
		<-ctx.Done()
		return 137
	}
}

type fakeContainer struct {
	now        engine.Container
	stopSignal string

	// Of the current run:
	run     int
	cancel  context.CancelFunc // nil without a program
	signals chan string
	log     *logs.Writer
	stdin   *io.PipeWriter
	done    chan struct{} // closed when the run has ended

	outMu    sync.Mutex
	attached map[*attachment]struct{}
}

type attachment struct{ stdout, stderr io.Writer }

func (c *fakeContainer) snapshot() *engine.Container {
	s := c.now
	return &s
}

// start begins a run; the engine's lock is held.
func (c *fakeContainer) start(f *Fake, program Program, log *logs.Writer, pid int) {
	c.run++
	run := c.run
	c.now.State, c.now.PID, c.now.StartedAt = engine.Running, pid, time.Now()
	c.now.FinishedAt, c.now.ExitCode, c.now.OOMKilled, c.now.Message = time.Time{}, 0, false, ""
	c.done, c.log, c.cancel, c.stdin = make(chan struct{}), log, nil, nil
	if program == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.signals = cancel, make(chan string, 16)
	p := &Process{Spec: c.now.Spec, PID: pid, Stdin: strings.NewReader(""), Signals: c.signals}
	if c.now.Spec.Stdin {
		p.Stdin, c.stdin = io.Pipe()
	}
	out := &fakeStream{c: c, split: logs.Splitter{Stream: logs.Stdout}, pick: func(a *attachment) io.Writer { return a.stdout }}
	errs := &fakeStream{c: c, split: logs.Splitter{Stream: logs.Stderr}, pick: func(a *attachment) io.Writer { return a.stderr }}
	p.Stdout, p.Stderr = out, errs
	if c.now.Spec.TTY {
		p.Stderr = out
	}
	go func() {
		code := program(ctx, p)
		if ctx.Err() != nil {
			code = 137
		}
		cancel()
		out.end()
		errs.end()
		f.ended(c, run, code, "", false)
	}()
}

// ended records the end of a run.
func (f *Fake) ended(c *fakeContainer, run, code int, message string, oom bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.run != run || c.now.State != engine.Running {
		return
	}
	if c.now.OOMKilled {
		oom = true
	}
	c.now.State, c.now.PID, c.now.FinishedAt, c.now.Paused = engine.Exited, 0, time.Now(), false
	c.now.ExitCode, c.now.Message, c.now.OOMKilled = code, message, oom
	if c.log != nil {
		c.log.Close()
	}
	if c.stdin != nil {
		c.stdin.Close()
	}
	f.publish(engine.EventExited, c)
	close(c.done)
}

func (f *Fake) signal(c *fakeContainer, name string) {
	f.mu.Lock()
	run, cancel, signals := c.run, c.cancel, c.signals
	f.mu.Unlock()
	name = "SIG" + strings.TrimPrefix(name, "SIG")
	switch {
	case cancel != nil && name == "SIGKILL":
		cancel()
	case cancel != nil:
		select {
		case signals <- name:
		default:
		}
	default:
		f.ended(c, run, 128+signalNumber(name), "", false)
	}
}

func signalNumber(name string) int { return int(unix.SignalNum(name)) }

// Exit ends a container that runs no Program, as if its process had exited.
func (f *Fake) Exit(id string, code int) { f.end(id, code, "", false) }

// OOM ends a container as the kernel does when it uses too much memory.
func (f *Fake) OOM(id string) { f.end(id, 137, "", true) }

// Reboot ends all containers and unpins all namespaces, as a restart of the machine
// does.
func (f *Fake) Reboot() {
	f.mu.Lock()
	ids := make([]string, 0, len(f.containers))
	for id := range f.containers {
		ids = append(ids, id)
	}
	f.mu.Unlock()
	for _, id := range ids {
		f.end(id, 255, "the machine restarted", false)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.sandboxes)
}

func (f *Fake) end(id string, code int, message string, oom bool) {
	f.mu.Lock()
	c, err := f.find(id)
	if err != nil || c.now.State != engine.Running {
		f.mu.Unlock()
		return
	}
	run, cancel := c.run, c.cancel
	if oom {
		c.now.OOMKilled = true
		f.publish(engine.EventOOM, c)
	}
	f.mu.Unlock()
	f.ended(c, run, code, message, oom)
	if cancel != nil {
		cancel()
	}
}

// fakeStream is a program's stdout or stderr.
type fakeStream struct {
	c     *fakeContainer
	split logs.Splitter
	pick  func(*attachment) io.Writer
}

func (s *fakeStream) Write(p []byte) (int, error) {
	s.c.outMu.Lock()
	defer s.c.outMu.Unlock()
	if s.c.log != nil {
		if err := s.c.log.Write(s.split.Split(time.Now(), p, nil)...); err != nil {
			return 0, err
		}
	}
	for a := range s.c.attached {
		if w := s.pick(a); w != nil {
			if _, err := w.Write(p); err != nil {
				delete(s.c.attached, a)
			}
		}
	}
	return len(p), nil
}

func (s *fakeStream) end() {
	s.c.outMu.Lock()
	defer s.c.outMu.Unlock()
	if s.c.log != nil {
		s.c.log.Write(s.split.End(time.Now(), nil)...)
	}
}

// Attach implements engine.Engine.
func (f *Fake) Attach(ctx context.Context, id string, s engine.Streams) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("attach %s: %w", id, engine.ErrNotRun)
	}
	if err != nil {
		f.mu.Unlock()
		return err
	}
	done, stdin, once := c.done, c.stdin, c.now.Spec.StdinOnce
	f.mu.Unlock()
	a := &attachment{stdout: s.Stdout, stderr: s.Stderr}
	c.outMu.Lock()
	if c.attached == nil {
		c.attached = map[*attachment]struct{}{}
	}
	c.attached[a] = struct{}{}
	c.outMu.Unlock()
	defer func() {
		c.outMu.Lock()
		delete(c.attached, a)
		c.outMu.Unlock()
	}()
	inputEnded := make(chan struct{})
	if s.Stdin != nil && stdin != nil {
		go func() {
			_, err := io.Copy(stdin, s.Stdin)
			if once && err == nil {
				stdin.Close()
			}
			if s.Stdout == nil && s.Stderr == nil {
				close(inputEnded)
			}
		}()
	}
	select {
	case <-done:
	case <-inputEnded:
	case <-ctx.Done():
	}
	return nil
}

// Exec implements engine.Engine.
func (f *Fake) Exec(ctx context.Context, id string, spec engine.ExecSpec, s engine.Streams) (int, error) {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("exec in %s: %w", id, engine.ErrNotRun)
	}
	if err != nil {
		f.mu.Unlock()
		return 0, err
	}
	f.record("exec %s %s", cmp.Or(c.now.Spec.Name, c.now.Spec.ID), strings.Join(spec.Args, " "))
	hook, container := f.OnExec, c.now.Spec
	f.mu.Unlock()
	if hook == nil {
		return 0, nil
	}
	return hook(ctx, container, spec, s)
}

// Stats implements engine.Engine.
func (f *Fake) Stats(ctx context.Context, id string) (*engine.Stats, error) {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("stats of %s: %w", id, engine.ErrNotRun)
	}
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	hook, spec := f.OnStats, c.now.Spec
	f.mu.Unlock()
	if hook != nil {
		return hook(spec)
	}
	return &engine.Stats{Time: time.Now()}, nil
}

var _ engine.Groups = (*Fake)(nil)

// SetGroup implements engine.Groups.
func (f *Fake) SetGroup(ctx context.Context, parent string, r engine.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("group %s shares=%d memory=%d pids=%d", parent, r.CPUShares, r.Memory, r.Pids)
	return nil
}

// GroupStats implements engine.Groups; the fake counts nothing.
func (f *Fake) GroupStats(ctx context.Context, parent string) (*engine.Stats, error) {
	return &engine.Stats{Time: time.Now()}, nil
}

// ReopenLog implements engine.Engine.
func (f *Fake) ReopenLog(ctx context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if c.now.State != engine.Running {
		return fmt.Errorf("reopen the log of %s: %w", id, engine.ErrNotRun)
	}
	if c.log == nil {
		return nil
	}
	return c.log.Reopen()
}

func isNotFound(err error) bool { return errors.Is(err, engine.ErrNotFound) }

var (
	_ engine.Editor  = (*Fake)(nil)
	_ engine.Pauser  = (*Fake)(nil)
	_ engine.Resizer = (*Fake)(nil)
)

// Edit implements engine.Editor.
func (f *Fake) Edit(ctx context.Context, id string, spec engine.ContainerSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err == nil && c.now.State == engine.Running {
		err = fmt.Errorf("edit %s: %w", id, engine.ErrRunning)
	}
	if err != nil {
		return err
	}
	was := c.now.Spec
	spec.ID, spec.Name, spec.Image, spec.Skeleton = was.ID, was.Name, was.Image, was.Skeleton
	c.now.Spec = spec
	return nil
}

// Pause implements engine.Pauser; programs go on all the same.
func (f *Fake) Pause(ctx context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("pause %s: %w", id, engine.ErrNotRun)
	}
	if err == nil {
		c.now.Paused = true
	}
	return err
}

// Resume implements engine.Pauser.
func (f *Fake) Resume(ctx context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err == nil {
		c.now.Paused = false
	}
	return err
}

// Resize implements engine.Resizer.
func (f *Fake) Resize(ctx context.Context, id string, size engine.Size) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("resize %s: %w", id, engine.ErrNotRun)
	}
	return err
}
