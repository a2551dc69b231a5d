package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/wholefile"
)

// record is what a container's file holds.
type record struct {
	ID, Name   string
	Created    time.Time
	Config     *container.Config
	HostConfig *container.HostConfig
	// Endpoints are the networks that are asked for, by name.
	Endpoints map[string]*network.EndpointSettings
	ImageID   string                // as Docker shows it
	Image     *imagespec.Descriptor `json:",omitempty"`
	Path      string
	Args      []string
	Mounts    []mountPoint

	RestartCount int
	// Manual tells that somebody stopped it, WasStarted that it ran once.
	Manual, WasStarted    bool
	StartedAt, FinishedAt time.Time
	ExitCode              int
	OOM                   bool
	Error                 string
	// PlainReadOnly leaves mounts below a read-only bind as they are.
	PlainReadOnly bool `json:",omitempty"`
	// MAC is the address that was asked for in the network of the mode.
	MAC network.HardwareAddr `json:",omitempty"`
	// Removing is set when a removal has begun, which is then finished.
	Removing bool
}

// cont is a container.
type cont struct {
	op sync.Mutex

	// Guarded by Area.mu.
	rec        record
	running    bool
	paused     bool
	restarting bool
	removing   bool
	pid        int
	run        *run // the current one, or the last
	next       *run // the one that a start will begin
	keep       bool // its end is neither a reason to start it again nor to remove it
	backoff    time.Duration
	stopWait   context.CancelFunc // ends a wait before a restart
	waiting    []*attachment      // clients attached before the start
	execs      map[string]bool
	health     *healthState
	gone       chan struct{} // closed when it has been removed
}

// run is one run of a container; done is closed when its end has been dealt with.
type run struct {
	done chan struct{}
	code int
}

func newCont(r record) *cont {
	return &cont{rec: r, execs: map[string]bool{}, gone: make(chan struct{}), run: ended(r.ExitCode), next: newRun()}
}

func newRun() *run { return &run{done: make(chan struct{})} }

func ended(code int) *run {
	r := &run{done: make(chan struct{}), code: code}
	close(r.done)
	return r
}

// find returns a container by id, name or the beginning of an id.
func (a *Area) find(name string) (*cont, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lookup(name)
}

// lookup is find for who holds a.mu.
func (a *Area) lookup(name string) (*cont, error) {
	if c, ok := a.all[name]; ok {
		return c, nil
	}
	if id, ok := a.names[strings.TrimPrefix(name, "/")]; ok && a.all[id] != nil {
		return a.all[id], nil
	}
	var found *cont
	if name != "" && strings.Trim(name, "0123456789abcdef") == "" {
		for id, c := range a.all {
			if !strings.HasPrefix(id, name) {
				continue
			}
			if found != nil {
				return nil, route.Invalidf("multiple IDs found with provided prefix: %s", name)
			}
			found = c
		}
	}
	if found == nil {
		return nil, route.NotFoundf("No such container: %s", name)
	}
	return found, nil
}

// view is a copy of a container's fields at one moment.
type view struct {
	record
	running, paused, restarting, removing bool
	pid                                   int
	health                                *container.Health
	execs                                 []string
}

func (a *Area) view(c *cont) view {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.viewLocked(c)
}

func (a *Area) viewLocked(c *cont) view {
	v := view{record: c.rec, running: c.running, paused: c.paused, restarting: c.restarting, removing: c.removing, pid: c.pid, health: c.health.show()}
	for id := range c.execs {
		v.execs = append(v.execs, id)
	}
	return v
}

func (v *view) status() container.ContainerState {
	switch {
	case v.paused:
		return container.StatePaused
	case v.restarting:
		return container.StateRestarting
	case v.running:
		return container.StateRunning
	case v.removing:
		return container.StateRemoving
	case v.StartedAt.IsZero():
		return container.StateCreated
	}
	return container.StateExited
}

// change applies f to a container and keeps the result.
func (a *Area) change(c *cont, f func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	return a.save(c)
}

// commit is change of what somebody has asked for: it is on the disk then.
func (a *Area) commit(c *cont, f func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	return a.saveDurable(c)
}

// save writes a container's file; a.mu is held, which makes one writer.
func (a *Area) save(c *cont) error { return a.write(c, wholefile.Replace) }

// saveDurable is save that survives a loss of power, save for containers that would be
// removed after it anyway.
func (a *Area) saveDurable(c *cont) error {
	if c.rec.HostConfig.AutoRemove {
		return a.save(c)
	}
	return a.write(c, wholefile.Keep)
}

func (a *Area) write(c *cont, to func(path string, b []byte, mode fs.FileMode) error) error {
	b, err := json.Marshal(&c.rec)
	if err != nil {
		return err
	}
	return to(a.file(c.rec.ID), b, 0o600)
}

// load reads all containers. A file and the engine's container belong together:
// what is there alone is of a creation or a removal that was cut off, and goes.
func (a *Area) load(ctx context.Context) error {
	known, err := a.o.Engine.List(ctx, map[string]string{Mine: ""})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(a.o.Dir)
	if err != nil {
		return err
	}
	inEngine := map[string]*engine.Container{}
	for _, k := range known {
		inEngine[k.Spec.ID] = k
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		path := filepath.Join(a.o.Dir, e.Name())
		var rec record
		b, err := os.ReadFile(path)
		if err == nil && ok {
			err = json.Unmarshal(b, &rec)
		}
		if !ok || err != nil || rec.ID != id || inEngine[id] == nil || rec.Config == nil || rec.HostConfig == nil {
			a.o.Log.Warn("removing a container that is half made", "file", path, "err", err)
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		a.all[id] = newCont(rec)
		a.names[rec.Name] = id
	}
	for id, k := range inEngine {
		c, ok := a.all[id]
		if !ok {
			if err := a.dropEngine(ctx, id); err != nil {
				return err
			}
			continue
		}
		if err := a.holdVolumes(ctx, c, k.State == engine.Running); err != nil {
			a.notify("hold a volume", id, err)
		}
		a.resume(c, k)
	}
	if err := a.dropHolders(ctx); err != nil {
		return err
	}
	return a.dropFiles()
}

// dropFiles removes the files of containers that are not there.
func (a *Area) dropFiles() error {
	dir := filepath.Dir(a.dir("x"))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if a.all[e.Name()] == nil {
			if err := errors.Join(a.o.Mounter.Clear(a.mountsDir(e.Name())), os.RemoveAll(filepath.Join(dir, e.Name()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume goes on with a container of an earlier process.
func (a *Area) resume(c *cont, k *engine.Container) {
	if k.State == engine.Running {
		a.mu.Lock()
		c.running, c.paused, c.pid = true, k.Paused, k.PID
		c.rec.StartedAt = k.StartedAt
		c.run = newRun()
		a.mu.Unlock()
		a.beginHealth(c)
		return
	}
	a.ended.Go(func() {
		c.op.Lock()
		defer c.op.Unlock()
		switch {
		case c.rec.Removing:
			a.notify("finish a removal", c.rec.ID, a.removeLocked(a.ctx, c, false))
			return
		case c.rec.WasStarted && k.State == engine.Exited && k.FinishedAt.After(c.rec.FinishedAt) && !k.StartedAt.Before(c.rec.StartedAt.Add(-time.Second)):
			// It ended while nobody watched, or its end was not dealt with.
			a.mu.Lock()
			c.run = newRun() // that of a container which was loaded has ended
			a.mu.Unlock()
			a.finish(c, k)
			return
		}
		a.notify("clean up after a run", c.rec.ID, a.cleanRun(a.ctx, c))
		if c.rec.HostConfig.AutoRemove && c.rec.WasStarted {
			a.notify("remove", c.rec.ID, a.removeLocked(a.ctx, c, true))
			return
		}
		if restartAtBoot(&c.rec) {
			a.notify("start again", c.rec.ID, a.startLocked(a.ctx, c))
		}
	})
}

// restartAtBoot tells whether a container that does not run is started when the
// engine begins.
func restartAtBoot(r *record) bool {
	if !r.WasStarted {
		return false
	}
	switch r.HostConfig.RestartPolicy.Name {
	case container.RestartPolicyAlways:
		return true
	case container.RestartPolicyUnlessStopped:
		return !r.Manual
	case container.RestartPolicyOnFailure:
		return !r.Manual && r.ExitCode != 0
	}
	return false
}

// publish tells what happened to a container, with Docker's attributes.
func (a *Area) publish(c *cont, action events.Action, more ...string) {
	a.mu.Lock()
	attrs := map[string]string{}
	for k, v := range c.rec.Config.Labels {
		attrs[k] = v
	}
	attrs["image"], attrs["name"] = c.rec.Config.Image, c.rec.Name
	id := c.rec.ID
	a.mu.Unlock()
	for i := 0; i+1 < len(more); i += 2 {
		attrs[more[i]] = more[i+1]
	}
	a.o.Events.Publish(events.ContainerEventType, action, id, attrs)
}

// dropEngine removes the engine's part of a container.
func (a *Area) dropEngine(ctx context.Context, id string) error {
	err := a.o.Engine.Remove(ctx, id, true)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	if err := errors.Join(a.o.Engine.RemoveSandbox(ctx, id), a.o.Mounter.Clear(a.mountsDir(id)), a.releaseImages(ctx, id)); err != nil {
		return err
	}
	return os.RemoveAll(a.dir(id))
}
