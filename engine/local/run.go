package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/monitor"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/kernel/cgroup"
)

type bundleConfig struct {
	spec  *specs.Spec
	group string
}

func context0() context.Context { return context.Background() }

// Start implements engine.Engine.
func (l *Local) Start(ctx context.Context, id string) error {
	return l.startWith(ctx, id, &ends{})
}

// startWith starts a container and connects the ends of pipes before it runs.
func (l *Local) startWith(ctx context.Context, id string, theirs *ends) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	l.mu.Lock()
	state, removed := c.now.State, c.removed
	l.mu.Unlock()
	switch {
	case removed:
		return fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
	case state == engine.Running:
		return fmt.Errorf("start %s: %w", id, engine.ErrRunning)
	}
	if err := l.clean(ctx, c); err != nil {
		return err
	}
	l.mu.Lock()
	c.starting, c.cleaned = true, false
	l.mu.Unlock()
	task, err := l.start(ctx, c, theirs)
	l.mu.Lock()
	c.starting = false
	l.mu.Unlock()
	if err != nil {
		l.complain("container "+id, l.clean(context.WithoutCancel(ctx), c))
		l.mu.Lock()
		l.checkPause(c.record.Spec.Sandbox)
		l.mu.Unlock()
		return startError("start "+id, c.command(), err)
	}
	l.running(c, task)
	return nil
}

// start writes the bundle and lets the monitor run it. Once asked, the monitor is
// waited for whatever becomes of ctx: the container would run all the same.
func (l *Local) start(ctx context.Context, c *container, theirs *ends) (*wire.Task, error) {
	spec := &c.record.Spec
	cfg, err := l.config(c)
	if err != nil {
		return nil, err
	}
	if err := l.cgroups.Create(filepath.Dir(cfg.group), cgroup.Limits{}); err != nil {
		return nil, err
	}
	dir, state := l.bundleDir(spec.ID), l.stateDir(spec.ID)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o711); err != nil {
		return nil, err
	}
	learn := l.filters.give(l.runtime, cfg.spec)
	if err := writeJSON(filepath.Join(dir, "config.json"), cfg.spec); err != nil {
		return nil, err
	}
	if err := writeJSON(filepath.Join(dir, processFile), cfg.spec.Process); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := &wire.Start{
		ID: spec.ID, Dir: dir, StateDir: state,
		Runtime: l.runtime.run(l.runtimeRoot(), dir, spec.ID, spec.TTY),
		Rootfs: &wire.Rootfs{Target: filepath.Join(dir, "rootfs"), Base: l.images.Layers(), Lower: c.record.Lower,
			Upper: filepath.Join(state, "upper"), Work: filepath.Join(state, "work")},
		OOMFile: l.cgroups.OOMFile(cfg.group),
		TTY:     spec.TTY, Stdin: spec.Stdin, StdinOnce: spec.StdinOnce,
		LogPath: spec.LogPath, LogMaxBytes: spec.LogMaxBytes, LogMaxFiles: spec.LogMaxFiles,
	}
	if l.cgroups.Version() == 1 {
		start.OOMControl = filepath.Join(filepath.Dir(start.OOMFile), "cgroup.event_control")
	}
	r, fds, err := l.mon.CallFiles(context.WithoutCancel(ctx), &wire.Request{Op: wire.OpStart, Start: start, Files: theirs.names}, theirs.fds...)
	if err != nil {
		return nil, err
	}
	if learn != nil {
		learn(filepath.Join(l.runtimeRoot(), spec.ID))
	}
	if len(fds) > 0 {
		l.mu.Lock()
		c.keepTerminal(fds[0])
		l.mu.Unlock()
		wire.CloseAll(fds[1:])
	}
	return r.Task, nil
}

// startError is what a start of command answers. Where the runtime could not
// execute it the words are runc's, whichever runtime it was: people know them.
func startError(op, command string, err error) error {
	if err == nil {
		return nil
	}
	var me *monitor.Error
	if !errors.As(err, &me) || me.Kind != wire.KindStart {
		return fmt.Errorf("%s: %w", op, noSpace(err))
	}
	se := &engine.StartError{ExitCode: me.Code, Message: me.Text}
	low := strings.ToLower(me.Text)
	switch {
	case me.Code == 127 && strings.Contains(command, "/"):
		se.Message = fmt.Sprintf("exec: %q: stat %s: no such file or directory", command, command)
	case me.Code == 127:
		se.Message = fmt.Sprintf("exec: %q: executable file not found in $PATH", command)
	case me.Code == 126 && strings.Contains(low, "format"):
		se.Message = fmt.Sprintf("exec %s: exec format error", command)
	case me.Code == 126 && (strings.Contains(low, "directory") || strings.Contains(low, "not permitted")):
		se.Message = fmt.Sprintf("exec: %q: is a directory", command)
	case me.Code == 126:
		se.Message = fmt.Sprintf("exec: %q: permission denied", command)
	}
	return se
}

// running notes that a run has begun; the monitor's event and its answer to Start
// both tell it.
func (l *Local) running(c *container, t *wire.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.StartedAt.After(c.now.StartedAt) {
		return // known
	}
	c.now.State, c.now.PID, c.now.StartedAt = engine.Running, t.PID, t.StartedAt
	c.now.FinishedAt, c.now.ExitCode, c.now.OOMKilled, c.now.Message = time.Time{}, 0, false, ""
	c.cleaned, c.now.Paused = false, l.cgroups.Frozen(l.group(c))
	if isClosed(c.done) {
		c.done = make(chan struct{})
	}
	l.publish(engine.EventStarted, c)
}

// ranToEnd notes the end of a run, and cleans up after it.
func (l *Local) ranToEnd(c *container, exit *wire.Exit) {
	l.mu.Lock()
	if c.now.State != engine.Running {
		l.mu.Unlock()
		return
	}
	c.setExit(exit)
	c.keepTerminal(-1)
	// First, so that nobody starts it again in there.
	l.checkPause(c.record.Spec.Sandbox)
	l.publish(engine.EventExited, c)
	l.mu.Unlock()
	l.ended.Go(func() {
		c.op.Lock()
		defer c.op.Unlock()
		l.complain("container "+c.record.Spec.ID, l.clean(context0(), c))
	})
}

// clean takes away what a run has left on the machine: processes that outlived
// the first one, the control group, the bundle. The caller holds c.op.
func (l *Local) clean(ctx context.Context, c *container) error {
	l.mu.Lock()
	skip := c.cleaned || c.removed || c.now.State == engine.Running
	group, id := l.group(c), c.record.Spec.ID
	l.mu.Unlock()
	if skip {
		return nil
	}
	if err := l.cgroups.Kill(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := retryBusy(func() error { return l.cgroups.Remove(group) }); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(l.bundleDir(id)), os.RemoveAll(filepath.Join(l.runtimeRoot(), id))); err != nil {
		return err
	}
	_, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpForget, ID: id})
	var me *monitor.Error
	if err != nil && !errors.As(err, &me) {
		return err
	}
	l.mu.Lock()
	c.cleaned = true
	l.mu.Unlock()
	return nil
}

// Stop implements engine.Engine.
func (l *Local) Stop(ctx context.Context, id string, grace time.Duration) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	running, done, group := c.now.State == engine.Running, c.done, l.group(c)
	l.mu.Unlock()
	if !running {
		return nil
	}
	if grace > 0 {
		if err := l.thaw(c); err != nil {
			return err
		}
		if err := l.Signal(ctx, id, engine.StopSignal(&c.record.Spec, &c.record.Image)); err != nil && !errors.Is(err, engine.ErrNotRun) {
			return err
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-done:
			return nil
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := l.thaw(c); err != nil {
		return err
	}
	// Its first process by the monitor, which hits nobody else; the rest by group.
	if err := l.Signal(ctx, id, "SIGKILL"); err != nil && !errors.Is(err, engine.ErrNotRun) {
		return err
	}
	if err := l.cgroups.Kill(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Signal implements engine.Engine.
func (l *Local) Signal(ctx context.Context, id string, name string) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	n, err := signalNumber(name)
	if err != nil {
		return err
	}
	_, err = l.mon.Call(ctx, &wire.Request{Op: wire.OpSignal, ID: c.record.Spec.ID, Signal: n})
	return monitorError("signal "+id, err)
}

// monitorError turns the monitor's refusals into the engine's errors.
func monitorError(op string, err error) error {
	var me *monitor.Error
	if errors.As(err, &me) {
		switch me.Kind {
		case wire.KindNotFound, wire.KindNotRun:
			return fmt.Errorf("%s: %w", op, engine.ErrNotRun)
		case wire.KindExists, wire.KindBusy:
			return fmt.Errorf("%s: %w", op, engine.ErrRunning)
		case wire.KindStart:
			return &engine.StartError{ExitCode: me.Code, Message: me.Text}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// Update implements engine.Engine.
func (l *Local) Update(ctx context.Context, id string, r engine.Resources) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	l.mu.Lock()
	running, group := c.now.State == engine.Running, l.group(c)
	rec := c.record
	l.mu.Unlock()
	if running {
		if err := l.cgroups.Update(group, limits(&r)); err != nil {
			return fmt.Errorf("update %s: %w", id, err)
		}
	}
	rec.Spec.Resources = r
	if err := writeJSON(filepath.Join(l.stateDir(rec.Spec.ID), containerFile), &rec); err != nil {
		return fmt.Errorf("update %s: %w", id, noSpace(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.record.Spec.Resources, c.now.Spec.Resources = r, r
	return nil
}

// Stats implements engine.Engine.
func (l *Local) Stats(ctx context.Context, id string) (*engine.Stats, error) {
	c, err := l.lookup(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	running, group := c.now.State == engine.Running, l.group(c)
	l.mu.Unlock()
	if !running {
		return nil, fmt.Errorf("stats of %s: %w", id, engine.ErrNotRun)
	}
	out, err := l.groupStats(group)
	if errors.Is(err, fs.ErrNotExist) {
		err = engine.ErrNotRun // it has ended meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("stats of %s: %w", id, err)
	}
	out.RootFSUsed, out.RootFSInodes = diskUsed(filepath.Join(l.stateDir(c.record.Spec.ID), "upper"))
	return out, nil
}

func (l *Local) groupStats(group string) (*engine.Stats, error) {
	s, err := l.cgroups.Stats(group)
	if err != nil {
		return nil, err
	}
	return &engine.Stats{
		Time: time.Now(), CPUNanos: s.CPUNanos, MemoryUsage: s.MemoryUsage, MemoryWorkingSet: s.MemoryWorkingSet,
		MemoryRSS: s.MemoryRSS, PageFaults: s.PageFaults, MajorPageFaults: s.MajorPageFaults, MemoryLimit: s.MemoryLimit,
		Pids: s.Pids, ReadBytes: s.ReadBytes, WriteBytes: s.WriteBytes,
	}, nil
}

var _ engine.Groups = (*Local)(nil)

// SetGroup implements engine.Groups.
func (l *Local) SetGroup(ctx context.Context, parent string, r engine.Resources) error {
	if !validParent(parent) {
		return fmt.Errorf("%w: cgroup parent %q", engine.ErrInvalid, parent)
	}
	return l.cgroups.Create(l.parentGroup(parent), limits(&r))
}

// GroupStats implements engine.Groups.
func (l *Local) GroupStats(ctx context.Context, parent string) (*engine.Stats, error) {
	if !validParent(parent) {
		return nil, fmt.Errorf("%w: cgroup parent %q", engine.ErrInvalid, parent)
	}
	s, err := l.groupStats(l.parentGroup(parent))
	if errors.Is(err, fs.ErrNotExist) {
		err = engine.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("stats of group %s: %w", parent, err)
	}
	return s, nil
}

// diskUsed counts what is below dir, each file once.
func diskUsed(dir string) (bytes, inodes uint64) {
	seen := map[uint64]bool{}
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(p, &st) != nil {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	return bytes, inodes
}

// ReopenLog implements engine.Engine.
func (l *Local) ReopenLog(ctx context.Context, id string) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	_, err = l.mon.Call(ctx, &wire.Request{Op: wire.OpReopen, ID: c.record.Spec.ID})
	return monitorError("reopen the log of "+id, err)
}
