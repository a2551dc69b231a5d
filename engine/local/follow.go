package local

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/monitor/wire"
)

// follow begins to listen to the monitor and returns when what it has is known.
func (l *Local) follow(ctx context.Context) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	failed := make(chan error, 1)
	l.ended.Go(func() {
		for first := true; ; first = false {
			err := l.listen(run)
			if run.Err() != nil {
				return
			}
			if first && !isClosed(l.synced) {
				failed <- err
				return
			}
			l.tel.Log.Warn("the monitor is gone; its containers run on and are adopted by another", "err", err)
			l.restore(run)
		}
	})
	select {
	case <-l.synced:
		return nil
	case err := <-failed:
		return fmt.Errorf("listen to the monitor: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restore makes a monitor run again, however long that takes.
func (l *Local) restore(ctx context.Context) {
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		_, err := l.mon.Ensure(ctx)
		if err == nil {
			return
		}
		l.tel.Log.Error("no monitor", "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// listen applies the monitor's events until it goes away.
func (l *Local) listen(ctx context.Context) error {
	conn, err := l.mon.Open(ctx, &wire.Request{Op: wire.OpEvents})
	if err != nil {
		return err
	}
	defer conn.Close()
	tasks := map[string]wire.Task{}
	for {
		r, fds, err := conn.Recv()
		wire.CloseAll(fds)
		if err != nil {
			return err
		}
		if r.Event == nil {
			return errors.New("the monitor answers something else")
		}
		switch r.Event.Type {
		case wire.EventTask:
			tasks[r.Event.Task.ID] = r.Event.Task
			l.apply(ctx, r.Event)
		case wire.EventSynced:
			l.reconcile(tasks)
			tasks = nil
			if !isClosed(l.synced) {
				close(l.synced)
			}
		default:
			l.apply(ctx, r.Event)
		}
	}
}

// apply brings one container to what the monitor says.
func (l *Local) apply(ctx context.Context, e *wire.Event) {
	t := &e.Task
	l.mu.Lock()
	c, ok := l.containers[t.ID]
	known := time.Time{}
	if ok {
		known = c.now.StartedAt
	}
	l.mu.Unlock()
	if !ok {
		if t.Exit != nil && t.ID != probeID {
			l.mon.Call(ctx, &wire.Request{Op: wire.OpForget, ID: t.ID})
		}
		return
	}
	if t.StartedAt.Before(known) {
		return // of an earlier run
	}
	l.running(c, t)
	if t.NeedTerminal {
		l.giveTerminal(ctx, c)
	}
	if e.Type == wire.EventOOM {
		l.mu.Lock()
		c.now.OOMKilled = true
		l.publish(engine.EventOOM, c)
		l.mu.Unlock()
	}
	if t.Exit != nil {
		l.ranToEnd(c, t.Exit)
	}
}

// giveTerminal hands the kept master to a new monitor.
func (l *Local) giveTerminal(ctx context.Context, c *container) {
	l.mu.Lock()
	fd := -1
	if c.terminal >= 0 {
		fd, _ = unix.Dup(c.terminal)
	}
	l.mu.Unlock()
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	if _, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpTerminal, ID: c.record.Spec.ID, Files: []string{"terminal"}}, fd); err != nil {
		l.tel.Log.Warn("the terminal of a container is lost", "id", c.record.Spec.ID, "err", err)
	}
}

// signalNumber reads "SIGTERM", "TERM", "15" and "RTMIN+3".
func signalNumber(name string) (int, error) {
	up := strings.ToUpper(name)
	if n, err := strconv.Atoi(up); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	up = strings.TrimPrefix(up, "SIG")
	if n := unix.SignalNum("SIG" + up); n != 0 {
		return int(n), nil
	}
	for base, at := range map[string]int{"RTMIN": 34, "RTMAX": 64} {
		rest, ok := strings.CutPrefix(up, base)
		if !ok {
			continue
		}
		off := 0
		if rest != "" {
			var err error
			if off, err = strconv.Atoi(rest); err != nil {
				break
			}
		}
		if n := at + off; n >= 34 && n <= 64 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: signal %q", engine.ErrInvalid, name)
}
