package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/monitor/wire"
)

var (
	_ engine.Editor          = (*Local)(nil)
	_ engine.Pauser          = (*Local)(nil)
	_ engine.AttachedStarter = (*Local)(nil)
	_ engine.Resizer         = (*Local)(nil)
	_ engine.Inspector       = (*Local)(nil)
	_ engine.Files           = (*Local)(nil)
)

// Edit implements engine.Editor.
func (l *Local) Edit(ctx context.Context, id string, spec engine.ContainerSpec) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	if !validParent(spec.CgroupParent) {
		return fmt.Errorf("%w: cgroup parent %q", engine.ErrInvalid, spec.CgroupParent)
	}
	c.op.Lock()
	defer c.op.Unlock()
	l.mu.Lock()
	running, removed, rec := c.now.State == engine.Running, c.removed, c.record
	l.mu.Unlock()
	switch {
	case removed:
		return fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
	case running:
		return fmt.Errorf("edit %s: %w", id, engine.ErrRunning)
	}
	// What a run has left is in the group that the old specification names.
	if err := l.clean(ctx, c); err != nil {
		return err
	}
	spec.ID, spec.Name, spec.Image, spec.Skeleton = rec.Spec.ID, rec.Spec.Name, rec.Spec.Image, rec.Spec.Skeleton
	rec.Spec = spec
	if p := spec.LogPath; p != "" {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("edit %s: %w", id, noSpace(err))
		}
	}
	if err := writeJSON(filepath.Join(l.stateDir(spec.ID), containerFile), &rec); err != nil {
		return fmt.Errorf("edit %s: %w", id, noSpace(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.record.Spec, c.now.Spec = spec, spec
	return nil
}

// groupOf is the control group of a running container.
func (l *Local) groupOf(op, id string) (*container, string, error) {
	c, err := l.lookup(id)
	if err != nil {
		return nil, "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.now.State != engine.Running {
		return nil, "", fmt.Errorf("%s %s: %w", op, id, engine.ErrNotRun)
	}
	return c, l.group(c), nil
}

// Pause implements engine.Pauser.
func (l *Local) Pause(ctx context.Context, id string) error {
	c, group, err := l.groupOf("pause", id)
	if err != nil {
		return err
	}
	if err := l.cgroups.Freeze(group, true); err != nil {
		return fmt.Errorf("pause %s: %w", id, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.now.Paused = c.now.State == engine.Running
	return nil
}

// Resume implements engine.Pauser.
func (l *Local) Resume(ctx context.Context, id string) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	return l.thaw(c)
}

func (l *Local) thaw(c *container) error {
	l.mu.Lock()
	paused, group := c.now.Paused, l.group(c)
	l.mu.Unlock()
	if !paused {
		return nil
	}
	if err := l.cgroups.Freeze(group, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("resume %s: %w", c.record.Spec.ID, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.now.Paused = false
	return nil
}

// StartAttached implements engine.AttachedStarter.
func (l *Local) StartAttached(ctx context.Context, id string, s engine.Streams) (wait func(), err error) {
	c, err := l.lookup(id)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	spec := c.record.Spec
	l.mu.Unlock()
	if spec.TTY {
		s.Stderr = nil
	}
	if !spec.Stdin && !spec.TTY {
		s.Stdin = nil
	}
	p := newPlumbing()
	var theirs ends
	defer theirs.close()
	if err = p.connect(&theirs, s); err == nil {
		err = l.startWith(ctx, id, &theirs)
	}
	if err != nil {
		theirs.close()
		p.close()
		return nil, err
	}
	size := firstSize(s.Resize)
	if spec.TTY && size != (engine.Size{}) {
		l.complain("terminal's size", l.Resize(ctx, id, size))
	}
	return func() {
		defer p.close()
		if p.n == 0 {
			select {
			case <-p.stdinOK:
			case <-ctx.Done():
			}
			return
		}
		for p.n > 0 {
			select {
			case <-p.outputs:
				p.n--
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

// Resize implements engine.Resizer.
func (l *Local) Resize(ctx context.Context, id string, size engine.Size) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	_, err = l.mon.Call(ctx, &wire.Request{Op: wire.OpResize, ID: c.record.Spec.ID, Width: size.Width, Height: size.Height})
	return monitorError("resize "+id, err)
}

// Processes implements engine.Inspector.
func (l *Local) Processes(ctx context.Context, id string) ([]int, error) {
	_, group, err := l.groupOf("processes of", id)
	if err != nil {
		return nil, err
	}
	pids, err := l.cgroups.Procs(group)
	if errors.Is(err, fs.ErrNotExist) {
		err = engine.ErrNotRun // it has ended meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("processes of %s: %w", id, err)
	}
	return pids, nil
}

// Detail implements engine.Inspector.
func (l *Local) Detail(ctx context.Context, id string) (*engine.Detail, error) {
	_, group, err := l.groupOf("stats of", id)
	if err != nil {
		return nil, err
	}
	s, err := l.groupStats(group)
	var d engine.Detail
	if err == nil {
		d.Stats = *s
		d.Detail, err = l.cgroups.Detail(group)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = engine.ErrNotRun
	}
	if err != nil {
		return nil, fmt.Errorf("stats of %s: %w", id, err)
	}
	return &d, nil
}
