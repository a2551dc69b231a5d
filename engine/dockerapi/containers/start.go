package containers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) start(w http.ResponseWriter, r *route.Request) error {
	c, err := a.find(r.Var("name"))
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	v := a.view(c)
	switch {
	case v.paused:
		return route.Conflictf("cannot start a paused container, try unpause instead")
	case v.running:
		return route.ErrNotModified
	case v.removing:
		return route.Conflictf("container is marked for removal and cannot be started")
	}
	a.anticipate()
	// What has begun is not cut off by a client that goes away.
	if err := a.startByHand(context.WithoutCancel(r.Context()), c); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// startByHand is a start that somebody asked for: its restarts are counted anew.
// c.op is held.
func (a *Area) startByHand(ctx context.Context, c *cont) error {
	a.mu.Lock()
	c.rec.Manual, c.backoff = false, 0
	if c.stopWait != nil {
		c.stopWait()
		c.stopWait = nil
	}
	a.mu.Unlock()
	err := a.startLocked(ctx, c)
	if err != nil && c.rec.HostConfig.AutoRemove {
		err = errors.Join(err, a.removeLocked(ctx, c, true))
	}
	return err
}

// startLocked runs a container that does not run; c.op is held. A failure is kept
// with the container.
func (a *Area) startLocked(ctx context.Context, c *cont) error {
	err := a.launch(ctx, c)
	if err == nil {
		a.publish(c, events.ActionStart)
		a.beginHealth(c)
		return nil
	}
	code, err := startFailure(err)
	a.notify("clean up after a failed start", c.rec.ID, a.cleanRun(context.WithoutCancel(ctx), c))
	serr := a.change(c, func() {
		c.rec.Error, c.rec.ExitCode = err.Error(), code
		c.restarting = false
	})
	return errors.Join(err, serr)
}

// launch makes everything that a run needs, and begins it.
func (a *Area) launch(ctx context.Context, c *cont) error {
	v := a.view(c)
	if err := a.checkShared(&v); err != nil {
		return err
	}
	volumes, err := a.mountVolumes(ctx, &v)
	if err != nil {
		return err
	}
	box, err := a.o.Engine.CreateSandbox(ctx, a.sandboxSpec(&v))
	if errors.Is(err, engine.ErrExists) { // of a run that a crash has cut off
		if err = a.o.Engine.RemoveSandbox(ctx, v.ID); err == nil {
			box, err = a.o.Engine.CreateSandbox(ctx, a.sandboxSpec(&v))
		}
	}
	if err != nil {
		return err
	}
	if err := a.writeHosts(ctx, &v); err != nil {
		return err
	}
	if err := a.connect(ctx, &v, box.NetNS); err != nil {
		return err
	}
	a.tellMounted(&v)
	mounts, err := a.engineMounts(&v, volumes)
	if err != nil {
		return err
	}
	spec, err := a.spec(&v, mounts)
	if err != nil {
		return err
	}
	if err := a.o.Engine.Edit(ctx, v.ID, spec); err != nil {
		return err
	}
	// Kept before the process runs: after a crash in between its end is noticed.
	if err := a.change(c, func() {
		c.rec.WasStarted, c.rec.Error, c.rec.StartedAt = true, "", time.Now().UTC()
	}); err != nil {
		return err
	}
	if err := a.execute(ctx, c); err != nil {
		a.mu.Lock()
		c.rec.StartedAt, c.rec.WasStarted = v.StartedAt, v.WasStarted
		a.mu.Unlock()
		return err
	}
	return nil
}

// execute starts the process, connected with the clients that wait for it.
func (a *Area) execute(ctx context.Context, c *cont) error {
	a.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	a.mu.Unlock()
	var err error
	if len(waiting) == 0 {
		err = a.o.Engine.Start(ctx, c.rec.ID)
	} else {
		err = a.startWaiting(c, waiting)
	}
	if err != nil {
		a.mu.Lock()
		c.waiting = append(waiting, c.waiting...)
		a.mu.Unlock()
		return err
	}
	now, err := a.o.Engine.Get(ctx, c.rec.ID)
	if err != nil {
		return err
	}
	return a.change(c, func() {
		c.running, c.restarting, c.paused, c.pid = true, false, false, now.PID
		c.rec.StartedAt, c.rec.ExitCode, c.rec.OOM = now.StartedAt.UTC(), 0, false
		c.run, c.next = c.next, newRun()
	})
}

// checkShared refuses to share the namespaces of what does not run.
func (a *Area) checkShared(v *view) error {
	h := v.HostConfig
	for _, id := range []string{h.NetworkMode.ConnectedContainer(), h.IpcMode.Container(), h.PidMode.Container()} {
		if id == "" {
			continue
		}
		c, err := a.find(id)
		if err != nil {
			return err
		}
		if other := a.view(c); !other.running {
			return route.Conflictf("cannot join network of a non running container: %s", other.ID)
		}
	}
	return nil
}

// runtimePreamble is what comes before a runtime's own words.
const runtimePreamble = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "

// startFailure gives the exit code and the words of a start that failed.
func startFailure(err error) (code int, _ error) {
	var se *engine.StartError
	if !errors.As(err, &se) {
		return 128, err
	}
	msg := errors.New(runtimePreamble + se.Message)
	switch {
	case se.ExitCode == 127 || se.ExitCode == 126:
		return se.ExitCode, route.Invalid(msg)
	case strings.Contains(se.Message, "ot a directory"):
		return 127, route.Invalid(errors.New(msg.Error() + ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"))
	}
	return se.ExitCode, route.Internal(msg)
}

// cleanRun takes away what a run has on the machine besides the engine's part.
func (a *Area) cleanRun(ctx context.Context, c *cont) error {
	v := a.view(c)
	errs := []error{a.leave(ctx, v.ID)}
	now, err := a.o.Engine.Get(ctx, v.ID)
	switch {
	case err == nil && now.Spec.Sandbox != "":
		// A sandbox takes its containers with it.
		spec := now.Spec
		spec.Sandbox = ""
		if err := a.o.Engine.Edit(ctx, v.ID, spec); err != nil {
			return errors.Join(append(errs, err)...)
		}
	case err != nil && !errors.Is(err, engine.ErrNotFound):
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, a.o.Engine.RemoveSandbox(ctx, v.ID), a.unmountVolumes(ctx, &v))
	return errors.Join(errs...)
}
