package containers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// defaultStop is how long a container has to stop by itself.
const defaultStop = 10

// stopOptions reads t and signal.
func stopOptions(r *route.Request) (seconds *int, err error) {
	t := r.Form.Get("t")
	if t == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(t)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

func (a *Area) stopContainer(w http.ResponseWriter, r *route.Request) error {
	seconds, err := stopOptions(r)
	if err != nil {
		return route.Invalid(err)
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	if v := a.view(c); !v.running && !v.restarting {
		return route.ErrNotModified
	}
	if err := a.halt(r.Context(), c, seconds, r.Form.Get("signal")); err != nil {
		return route.Internal(fmt.Errorf("cannot stop container: %s: %w", r.Var("name"), err))
	}
	a.publish(c, events.ActionStop)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// halt stops a container for good and returns when its end has been dealt with.
func (a *Area) halt(ctx context.Context, c *cont, seconds *int, signal string) error {
	v := a.view(c)
	name := firstOf(signal, v.Config.StopSignal, "SIGTERM")
	n, err := signalNumber(name)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	a.mu.Lock()
	c.rec.Manual = true
	err = a.saveDurable(c)
	cancel := c.stopWait
	done := c.run.done
	restarting := c.restarting
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if restarting {
		if cancel != nil {
			cancel()
		}
		<-done
		return nil
	}
	wait := defaultStop
	if v.Config.StopTimeout != nil {
		wait = *v.Config.StopTimeout
	}
	if seconds != nil {
		wait = *seconds
	}
	if wait != 0 {
		err := a.o.Engine.Signal(ctx, v.ID, fmt.Sprint(int(n)))
		if err == nil {
			a.publish(c, events.ActionKill, "signal", fmt.Sprint(int(n)))
			err = a.o.Engine.Resume(ctx, v.ID)
		}
		if err != nil && !errors.Is(err, engine.ErrNotRun) && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		var timer <-chan time.Time
		if wait > 0 {
			t := time.NewTimer(time.Duration(wait) * time.Second)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-done:
			return nil
		case <-timer:
		}
	}
	return a.slay(ctx, c, done)
}

// slay kills a container and returns when its end has been dealt with.
func (a *Area) slay(ctx context.Context, c *cont, done <-chan struct{}) error {
	err := a.o.Engine.Stop(ctx, c.rec.ID, 0)
	if err != nil && !errors.Is(err, engine.ErrNotFound) && !errors.Is(err, engine.ErrNotRun) {
		return err
	}
	a.publish(c, events.ActionKill, "signal", fmt.Sprint(int(unix.SIGKILL)))
	<-done
	return nil
}

// docker makes an error of Docker's words, which may begin with a capital.
func docker(format string, a ...any) error { return fmt.Errorf(format, a...) }

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func (a *Area) restart(w http.ResponseWriter, r *route.Request) error {
	seconds, err := stopOptions(r)
	if err != nil {
		return err // Docker answers this one as an internal error
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	fail := func(err error) error {
		return docker("Cannot restart container %s: %w", r.Var("name"), err)
	}
	if v := a.view(c); v.running || v.restarting {
		a.mu.Lock()
		c.keep = true
		a.mu.Unlock()
		err := a.halt(ctx, c, seconds, r.Form.Get("signal"))
		a.mu.Lock()
		c.keep = false
		a.mu.Unlock()
		if err != nil {
			return fail(err)
		}
		a.publish(c, events.ActionStop)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if v := a.view(c); !v.running {
		if err := a.startByHand(ctx, c); err != nil {
			return fail(err)
		}
	}
	a.publish(c, events.ActionRestart)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) kill(w http.ResponseWriter, r *route.Request) error {
	name := r.Var("name")
	if err := a.killContainer(r.Context(), name, r.Form.Get("signal")); err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", name, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) killContainer(ctx context.Context, name, signal string) error {
	n := unix.SIGKILL
	if signal != "" {
		var err error
		if n, err = signalNumber(signal); err != nil {
			return route.Invalid(err)
		}
		if n < 1 || n > 64 {
			return route.Invalidf("the linux daemon does not support signal %d", int(n))
		}
	}
	c, err := a.find(name)
	if err != nil {
		return err
	}
	v := a.view(c)
	if !v.running {
		return notRunning(v.ID)
	}
	stop, err := signalNumber(firstOf(v.Config.StopSignal, "SIGTERM"))
	final := n == unix.SIGKILL || v.Config.StopSignal == "" || (err == nil && n == stop)
	a.mu.Lock()
	c.rec.Manual = c.rec.Manual || final
	err = a.save(c)
	done := c.run.done
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if n == unix.SIGKILL {
		return a.slay(context.WithoutCancel(ctx), c, done)
	}
	if err := a.o.Engine.Signal(ctx, v.ID, fmt.Sprint(int(n))); err != nil {
		if errors.Is(err, engine.ErrNotRun) {
			return notRunning(v.ID)
		}
		return err
	}
	a.publish(c, events.ActionKill, "signal", fmt.Sprint(int(n)))
	if final && v.paused {
		return a.thaw(ctx, c)
	}
	return nil
}

func (a *Area) thaw(ctx context.Context, c *cont) error {
	if err := a.o.Engine.Resume(ctx, c.rec.ID); err != nil {
		return err
	}
	a.mu.Lock()
	c.paused = false
	a.mu.Unlock()
	a.publish(c, events.ActionUnPause)
	return nil
}

func (a *Area) pause(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	v := a.view(c)
	switch {
	case !v.running:
		return notRunning(v.ID)
	case v.paused:
		return route.Conflictf("container %s is already paused", v.ID)
	case v.restarting:
		return route.Conflictf("Container %s is restarting, wait until the container is running", v.ID)
	}
	if err := a.o.Engine.Pause(r.Context(), v.ID); err != nil {
		return fmt.Errorf("cannot pause container %s: %w", v.ID, err)
	}
	a.mu.Lock()
	c.paused = true
	a.mu.Unlock()
	a.publish(c, events.ActionPause)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) unpause(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if v := a.view(c); !v.paused {
		return route.Internalf("Container %s is not paused", v.ID)
	}
	if err := a.thaw(r.Context(), c); err != nil {
		return fmt.Errorf("cannot unpause container %s: %w", c.rec.ID, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) rename(w http.ResponseWriter, r *route.Request) error {
	name := strings.TrimPrefix(strings.TrimSpace(r.Form.Get("name")), "/")
	if name == "" {
		return route.Invalidf("Neither old nor new names may be empty")
	}
	c, err := a.find(strings.TrimSpace(r.Var("name")))
	if err != nil {
		return err
	}
	c.op.Lock() // until a start that is under way has taken the old name along
	defer c.op.Unlock()
	a.mu.Lock()
	old := c.rec.Name
	err = func() error {
		if name == old {
			return route.Invalidf("Renaming a container with the same name as its current name")
		}
		if err := checkName("/" + name); err != nil {
			return docker("Error when allocating new name: %w", err)
		}
		if err := a.reserve(name, c.rec.ID); err != nil {
			return docker("Error when allocating new name: %w", err)
		}
		c.rec.Name = name
		if err := a.saveDurable(c); err != nil {
			c.rec.Name = old
			delete(a.names, name)
			return err
		}
		delete(a.names, old)
		return nil
	}()
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if a.o.Networks != nil {
		if err := a.o.Networks.Rename(context.WithoutCancel(r.Context()), c.rec.ID, name); err != nil {
			return err
		}
	}
	a.publish(c, events.ActionRename, "oldName", "/"+old)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Area) wait(w http.ResponseWriter, r *route.Request) error {
	cond := container.WaitConditionNotRunning
	switch c := container.WaitCondition(r.Form.Get("condition")); {
	case r.Before("1.30"): // it had no conditions
	case c == "", c == container.WaitConditionNotRunning:
	case c == container.WaitConditionNextExit, c == container.WaitConditionRemoved:
		cond = c
	default:
		return route.Invalidf("invalid condition: %q", c)
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	a.mu.Lock()
	done, this := c.waitRun(cond)
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.Since("1.30") {
		// The client begins the container when it knows that its end is waited for.
		w.WriteHeader(http.StatusOK)
		if err := route.NewFlusher(w).Flush(); err != nil {
			return err
		}
	}
	select {
	case <-done:
	case <-c.gone:
	case <-r.Context().Done():
		return r.Context().Err()
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
	a.mu.Lock()
	out := container.WaitResponse{StatusCode: int64(c.rec.ExitCode)}
	if this != nil && c.rec.Error == "" {
		select {
		case <-this.done:
			out.StatusCode = int64(this.code)
		default:
		}
	}
	if c.rec.Error != "" {
		out.Error = &container.WaitExitError{Message: c.rec.Error}
	}
	a.mu.Unlock()
	return route.Encoder(w).Encode(&out)
}

func (a *Area) resize(w http.ResponseWriter, r *route.Request) error {
	size, err := sizeOf(r)
	if err != nil {
		return err
	}
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	v := a.view(c)
	if !v.running {
		return notRunning(v.ID)
	}
	if v.Config.Tty {
		if err := a.o.Engine.Resize(r.Context(), v.ID, size); err != nil {
			return err
		}
		a.publish(c, events.ActionResize, "height", fmt.Sprint(size.Height), "width", fmt.Sprint(size.Width))
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// sizeOf reads h and w.
func sizeOf(r *route.Request) (engine.Size, error) {
	var n [2]uint16
	for i, k := range []string{"h", "w"} {
		v, err := strconv.ParseInt(r.Form.Get(k), 10, 64)
		if err == nil && (v < 0 || v > math.MaxUint32) {
			err = strconv.ErrRange
		}
		if err != nil {
			var ne *strconv.NumError
			if errors.As(err, &ne) {
				err = ne.Err
			}
			return engine.Size{}, route.Invalid(fmt.Errorf("invalid resize %s %q: %w", []string{"height", "width"}[i], r.Form.Get(k), err))
		}
		n[i] = uint16(min(v, 1<<16-1))
	}
	return engine.Size{Height: n[0], Width: n[1]}, nil
}

func (a *Area) remove(w http.ResponseWriter, r *route.Request) error {
	name := r.Var("name")
	c, err := a.find(name)
	if err != nil {
		return err
	}
	if r.Bool("link") {
		return route.Internalf("Conflict, cannot remove the default link name of the container")
	}
	if err := a.removeContainer(context.WithoutCancel(r.Context()), c, name, r.Bool("force"), r.Bool("v")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// removeContainer removes c, which the client calls name.
func (a *Area) removeContainer(ctx context.Context, c *cont, name string, force, volumes bool) error {
	a.mu.Lock()
	if c.removing {
		a.mu.Unlock()
		return route.Conflictf("removal of container %s is already in progress", name)
	}
	v := a.viewLocked(c)
	if (v.running || v.restarting) && !force {
		a.mu.Unlock()
		why := "container is running: stop the container before removing or force remove"
		switch {
		case v.paused:
			why = "container is paused and must be unpaused first"
		case v.restarting:
			why = "container is restarting: stop the container before removing or force remove"
		}
		return route.Conflictf("cannot remove container %q: %s", name, why)
	}
	c.removing = true
	a.mu.Unlock()
	err := a.endForRemoval(ctx, c)
	if err == nil {
		c.op.Lock()
		err = a.removeLocked(ctx, c, volumes)
		c.op.Unlock()
	}
	if err != nil {
		a.mu.Lock()
		c.removing = false
		a.mu.Unlock()
		return fmt.Errorf("cannot remove container %q: %w", name, err)
	}
	return nil
}

// endForRemoval ends what runs: nothing is started once a removal has begun, but a
// start may be under way.
func (a *Area) endForRemoval(ctx context.Context, c *cont) error {
	c.op.Lock() // until a start that is under way has come to its end
	a.mu.Lock()
	cancel, running, done, waits := c.stopWait, c.running, c.run.done, c.restarting
	a.mu.Unlock()
	c.op.Unlock()
	if waits && cancel != nil {
		cancel()
		<-done
	}
	if !running {
		return nil
	}
	return a.slay(ctx, c, done)
}

// removeLocked takes a container away that does not run; c.op is held.
func (a *Area) removeLocked(ctx context.Context, c *cont, own bool) error {
	id := c.rec.ID
	select {
	case <-c.gone:
		return nil
	default:
	}
	if err := a.commit(c, func() { c.removing, c.rec.Removing = true, true }); err != nil {
		return err
	}
	if err := a.dropEngine(ctx, id); err != nil {
		return err
	}
	if err := a.leave(ctx, id); err != nil {
		return err
	}
	a.releaseVolumes(ctx, c, own)
	if err := os.Remove(a.file(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	a.mu.Lock()
	delete(a.all, id)
	if a.names[c.rec.Name] == id {
		delete(a.names, c.rec.Name)
	}
	for e := range c.execs {
		delete(a.execs, e)
	}
	a.mu.Unlock()
	a.publish(c, events.ActionDestroy)
	close(c.gone)
	return nil
}
