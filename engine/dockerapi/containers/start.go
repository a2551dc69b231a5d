package containers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) start(w http.ResponseWriter, r *route.Request) error {
	// A body that is no more than "null" or "{}" is let pass, for clients of old.
	if r.ContentLength > 7 || r.ContentLength == -1 {
		return route.Invalidf("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if id := r.Form.Get("checkpoint"); id != "" {
		if !validName.MatchString(id) || strings.HasSuffix(id, ".") {
			return route.Invalidf("invalid checkpoint ID %q, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", id)
		}
		return route.Invalidf("checkpoint is only supported in experimental mode")
	}
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
	code, err := startFailure(c.rec.ID, err)
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
	if err := checkStart(v.HostConfig); err != nil {
		return route.Internal(err)
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
	mounts, err := a.engineMounts(ctx, &v, volumes)
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
	if err := a.commit(c, func() {
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

// checkShared refuses to share the namespaces of what does not run, or shares not its
// own.
func (a *Area) checkShared(v *view) error {
	h := v.HostConfig
	if id := h.NetworkMode.ConnectedContainer(); id != "" {
		c, err := a.find(id)
		if err != nil {
			return route.Internal(fmt.Errorf("joining network namespace of container: %w", err))
		}
		if other := a.view(c); !other.running {
			return route.Conflictf("cannot join network of a non running container: %s", other.ID)
		}
	}
	if id := h.IpcMode.Container(); id != "" {
		other, err := a.sharing(id)
		if err == nil && (other.HostConfig.IpcMode.IsPrivate() || other.HostConfig.IpcMode.IsNone()) {
			err = route.Invalidf("container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", id)
		}
		if err != nil {
			return fmt.Errorf("failed to join IPC namespace: %w", err)
		}
	}
	if id := h.PidMode.Container(); id != "" {
		if _, err := a.sharing(id); err != nil {
			return route.Internal(fmt.Errorf("failed to join PID namespace: %w", err))
		}
	}
	return nil
}

// sharing is a running container whose namespace another is to share.
func (a *Area) sharing(id string) (view, error) {
	c, err := a.find(id)
	if err != nil {
		return view{}, route.Invalid(err)
	}
	switch v := a.view(c); {
	case !v.running:
		return v, notRunning(id)
	case v.restarting:
		return v, route.Conflictf("Container %s is restarting, wait until the container is running", id)
	default:
		return v, nil
	}
}

// checkStart refuses what only a start finds out, in Docker's words.
func checkStart(h *container.HostConfig) error {
	for _, d := range h.Devices {
		if _, err := os.Stat(d.PathOnHost); err != nil {
			return fmt.Errorf("error gathering device information while adding custom device %q: %s", d.PathOnHost, reason(err))
		}
	}
	for _, d := range h.DeviceRequests {
		switch {
		case d.Driver == "cdi":
			return fmt.Errorf("CDI device injection failed: unresolvable CDI devices %s", strings.Join(d.DeviceIDs, ", "))
		case d.Driver == "" && slices.ContainsFunc(d.Capabilities, func(all []string) bool { return slices.Contains(all, "gpu") }):
			return errors.New("failed to discover GPU vendor from CDI: no known GPU vendor found")
		}
		return fmt.Errorf("could not select device driver %q with capabilities: %v", d.Driver, d.Capabilities)
	}
	for _, options := range h.Tmpfs {
		for _, o := range strings.Split(options, ",") {
			if key, _, valued := strings.Cut(o, "="); o != "" && !slices.Contains(tmpfsWords(valued), key) {
				return fmt.Errorf("invalid tmpfs option %q", key)
			}
		}
	}
	return checkDevices(&h.Resources)
}

// tmpfsWords are the options that a tmpfs may have, with and without a value.
func tmpfsWords(valued bool) []string {
	if valued {
		return []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
	}
	return append(propagationWords(), "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
		"remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind", "rbind", "unbindable", "runbindable",
		"relatime", "norelatime", "strictatime", "nostrictatime")
}

// checkDevices refuses limits of devices that are not there.
func checkDevices(r *container.Resources) error {
	paths := []string{}
	for _, d := range r.BlkioWeightDevice {
		paths = append(paths, d.Path)
	}
	for _, list := range [][]*blkiodev.ThrottleDevice{r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps} {
		for _, d := range list {
			paths = append(paths, d.Path)
		}
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return route.Internal(err)
		}
	}
	return nil
}

// What comes before the words of what makes a container's process, and of the runtime.
const (
	taskPreamble    = "failed to create task for container: "
	runtimePreamble = taskPreamble + "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
)

// startFailure gives the exit code and the words of a start that failed.
func startFailure(id string, err error) (code int, _ error) {
	var se *engine.StartError
	if !errors.As(err, &se) {
		return 128, plain(id, err)
	}
	msg := runtimePreamble + se.Message
	switch lower := strings.ToLower(msg); {
	case strings.Contains(lower, "permission denied"):
		return 126, route.Invalid(errors.New(msg))
	case strings.Contains(lower, "is a directory"):
		return 126, route.Invalid(errors.New(msg + ": permission denied"))
	case strings.Contains(lower, "not a directory"):
		return 127, route.Invalid(errors.New(msg + ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"))
	case se.ExitCode == 127, strings.Contains(lower, "no such file or directory"), strings.Contains(lower, "executable file not found"):
		return 127, route.Invalid(errors.New(msg))
	}
	return 128, route.Internal(errors.New(msg))
}

// plain takes the engine's own preamble from an error of what a container asks for,
// which is no error of the request that starts it.
func plain(id string, err error) error {
	if !errors.Is(err, engine.ErrInvalid) {
		return err
	}
	words := strings.TrimPrefix(err.Error(), "start "+id+": ")
	for _, preamble := range []string{engine.ErrInvalid.Error() + ": ", "seccomp profile: "} {
		words = strings.TrimPrefix(words, preamble)
	}
	if strings.HasPrefix(words, "user ") {
		if _, why, ok := strings.Cut(words, ": "); ok {
			words = why
		}
	}
	return route.Internal(errors.New(words))
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
