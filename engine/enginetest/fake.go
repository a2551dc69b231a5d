package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/logs"
)

// Fake is an engine in memory. Containers run Programs instead of processes; what
// a program prints goes to attached clients and, in the CRI's format, to the
// container's LogPath. A container whose program is nil runs, without a
// goroutine, until it is signalled or Exit is called, so that a Fake fits into a
// testing/synctest bubble.
//
// The OnX hooks script behaviour. Set them before the engine is used, or through
// Script. They are called without locks held.
type Fake struct {
	// OnCreate and OnSandbox, when not nil, may fail a creation.
	OnCreate  func(engine.ContainerSpec) error
	OnSandbox func(engine.SandboxSpec) error
	// OnStart chooses what a container runs; an error fails the start.
	OnStart func(engine.ContainerSpec) (Program, error)
	// OnExec runs an exec; nil exits 0 at once.
	OnExec func(context.Context, engine.ContainerSpec, engine.ExecSpec, engine.Streams) (int, error)
	// OnPull may fail a pull or make it wait. The image is taken from what AddRemote
	// announced.
	OnPull func(ctx context.Context, ref string, o engine.PullOptions) error
	// OnStats answers Stats; nil gives counters of zero.
	OnStats func(engine.ContainerSpec) (*engine.Stats, error)

	images fakeImages
	hub    engine.Hub

	mu         sync.Mutex
	nextPID    int
	sandboxes  map[string]*engine.Sandbox
	containers map[string]*fakeContainer
	calls      []string
}

var _ engine.Engine = (*Fake)(nil)

// NewFake returns an engine with the given images present, each with a command
// "/bin/sh".
func NewFake(refs ...string) *Fake {
	f := &Fake{
		nextPID:    1000,
		sandboxes:  map[string]*engine.Sandbox{},
		containers: map[string]*fakeContainer{},
	}
	f.images.init(f)
	for _, r := range refs {
		f.AddImage(r, ImageConfig("/bin/sh"))
	}
	return f
}

// Script runs change while no other call looks at the hooks.
func (f *Fake) Script(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// Calls returns the mutating calls so far, as "start web-1", oldest first.
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Dump is the state as text: a line a sandbox and a line a container, sorted.
func (f *Fake) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for id := range f.sandboxes {
		lines = append(lines, "sandbox "+id+"\n")
	}
	for _, c := range f.containers {
		l := fmt.Sprintf("container %s name=%s sandbox=%s image=%s %s", c.now.Spec.ID, c.now.Spec.Name, c.now.Spec.Sandbox, c.now.Spec.Image, c.now.State)
		if c.now.State == engine.Exited {
			l += fmt.Sprintf(" code=%d", c.now.ExitCode)
		}
		lines = append(lines, l+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (f *Fake) record(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// Images implements engine.Engine.
func (f *Fake) Images() engine.Images { return &f.images }

// CreateSandbox implements engine.Engine.
func (f *Fake) CreateSandbox(ctx context.Context, spec engine.SandboxSpec) (*engine.Sandbox, error) {
	if err := engine.ValidSandboxID(spec.ID); err != nil {
		return nil, err
	}
	f.mu.Lock()
	hook := f.OnSandbox
	f.mu.Unlock()
	if hook != nil {
		if err := hook(spec); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.sandboxes[spec.ID]; ok {
		return nil, fmt.Errorf("sandbox %s: %w", spec.ID, engine.ErrExists)
	}
	f.record("sandbox %s", spec.ID)
	s := &engine.Sandbox{Spec: spec, CreatedAt: time.Now(), UTSNS: "/fake/" + spec.ID + "/uts"}
	if !spec.HostNetwork {
		s.NetNS = "/fake/" + spec.ID + "/net"
	}
	if !spec.HostIPC {
		s.IPCNS = "/fake/" + spec.ID + "/ipc"
	}
	if spec.PIDShared {
		s.PIDNS = "/fake/" + spec.ID + "/pid"
	}
	f.sandboxes[spec.ID] = s
	out := *s
	return &out, nil
}

// RemoveSandbox implements engine.Engine.
func (f *Fake) RemoveSandbox(ctx context.Context, id string) error {
	f.mu.Lock()
	var in []string
	for cid, c := range f.containers {
		if c.now.Spec.Sandbox == id {
			in = append(in, cid)
		}
	}
	_, known := f.sandboxes[id]
	delete(f.sandboxes, id) // no container is made in it from now on
	f.mu.Unlock()
	for _, cid := range in {
		if err := f.Remove(ctx, cid, true); err != nil && !isNotFound(err) {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known {
		f.record("remove sandbox %s", id)
		f.hub.Publish(engine.Event{Type: engine.EventSandbox, ID: id, Time: time.Now()})
	}
	return nil
}

// Sandboxes implements engine.Engine.
func (f *Fake) Sandboxes(ctx context.Context) ([]*engine.Sandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*engine.Sandbox
	for _, id := range slices.Sorted(maps.Keys(f.sandboxes)) {
		s := *f.sandboxes[id]
		out = append(out, &s)
	}
	return out, nil
}

// Create implements engine.Engine.
func (f *Fake) Create(ctx context.Context, spec engine.ContainerSpec) (*engine.Container, error) {
	img, err := f.images.Get(ctx, spec.Image)
	if err != nil {
		return nil, err
	}
	if _, err := engine.ProcessArgs(&spec, &img.Config.Config); err != nil {
		return nil, err
	}
	f.mu.Lock()
	if spec.ID == "" {
		f.nextPID++
		spec.ID = fmt.Sprintf("%064x", f.nextPID)
	}
	hook := f.OnCreate
	f.mu.Unlock()
	if err := engine.ValidContainerID(spec.ID); err != nil {
		return nil, err
	}
	if hook != nil {
		if err := hook(spec); err != nil {
			return nil, err
		}
	}
	if spec.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(spec.LogPath), 0o755); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if spec.Sandbox != "" && f.sandboxes[spec.Sandbox] == nil {
		return nil, fmt.Errorf("sandbox %s: %w", spec.Sandbox, engine.ErrNotFound)
	}
	for _, c := range f.containers {
		if c.now.Spec.ID == spec.ID || (spec.Name != "" && c.now.Spec.Name == spec.Name) {
			return nil, fmt.Errorf("container %s: %w", cmp.Or(spec.Name, spec.ID), engine.ErrExists)
		}
	}
	f.record("create %s", cmp.Or(spec.Name, spec.ID))
	c := &fakeContainer{stopSignal: engine.StopSignal(&spec, &img.Config.Config), done: make(chan struct{})}
	c.now = engine.Container{Spec: spec, State: engine.Created, ImageID: img.ID, CreatedAt: time.Now()}
	if len(img.Digests) > 0 {
		c.now.ImageRef = img.Digests[0]
	}
	f.containers[spec.ID] = c
	f.publish(engine.EventCreated, c)
	return c.snapshot(), nil
}

// publish announces c's state; f.mu is held.
func (f *Fake) publish(t engine.EventType, c *fakeContainer) {
	f.hub.Publish(engine.Event{Type: t, ID: c.now.Spec.ID, Container: c.snapshot(), Time: time.Now()})
}

func (f *Fake) find(id string) (*fakeContainer, error) {
	if c, ok := f.containers[id]; ok {
		return c, nil
	}
	for _, c := range f.containers {
		if id != "" && c.now.Spec.Name == id {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
}

// Start implements engine.Engine.
func (f *Fake) Start(ctx context.Context, id string) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State == engine.Running {
		err = fmt.Errorf("start %s: %w", id, engine.ErrRunning)
	}
	if err != nil {
		f.mu.Unlock()
		return err
	}
	spec, hook := c.now.Spec, f.OnStart
	f.record("start %s", cmp.Or(spec.Name, spec.ID))
	f.mu.Unlock()
	var program Program
	if hook != nil {
		if program, err = hook(spec); err != nil {
			return err
		}
	}
	var log *logs.Writer
	if spec.LogPath != "" {
		if log, err = logs.NewWriter(spec.LogPath, spec.LogMaxBytes, spec.LogMaxFiles); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextPID++
	c.start(f, program, log, f.nextPID)
	f.publish(engine.EventStarted, c)
	return nil
}

// Stop implements engine.Engine.
func (f *Fake) Stop(ctx context.Context, id string, grace time.Duration) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err != nil || c.now.State != engine.Running {
		f.mu.Unlock()
		return err
	}
	f.record("stop %s %v", cmp.Or(c.now.Spec.Name, c.now.Spec.ID), grace)
	done, signal := c.done, c.stopSignal
	f.mu.Unlock()
	if grace > 0 {
		f.signal(c, signal)
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
	f.signal(c, "SIGKILL")
	<-done
	return nil
}

// Signal implements engine.Engine.
func (f *Fake) Signal(ctx context.Context, id string, signal string) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State != engine.Running {
		err = fmt.Errorf("signal %s: %w", id, engine.ErrNotRun)
	}
	if err == nil {
		f.record("signal %s %s", cmp.Or(c.now.Spec.Name, c.now.Spec.ID), signal)
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.signal(c, signal)
	return nil
}

// Remove implements engine.Engine.
func (f *Fake) Remove(ctx context.Context, id string, force bool) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.now.State == engine.Running && !force {
		err = fmt.Errorf("remove %s: %w", id, engine.ErrRunning)
	}
	if err != nil {
		f.mu.Unlock()
		return err
	}
	running, done := c.now.State == engine.Running, c.done
	f.mu.Unlock()
	if running {
		f.signal(c, "SIGKILL")
		<-done
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.containers[c.now.Spec.ID]; !ok {
		return nil // somebody else was faster
	}
	f.record("remove %s", cmp.Or(c.now.Spec.Name, c.now.Spec.ID))
	delete(f.containers, c.now.Spec.ID)
	f.publish(engine.EventRemoved, c)
	return nil
}

// Update implements engine.Engine.
func (f *Fake) Update(ctx context.Context, id string, r engine.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	f.record("update %s", cmp.Or(c.now.Spec.Name, c.now.Spec.ID))
	c.now.Spec.Resources = r
	return nil
}

// Get implements engine.Engine.
func (f *Fake) Get(ctx context.Context, id string) (*engine.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

// List implements engine.Engine.
func (f *Fake) List(ctx context.Context, want map[string]string) ([]*engine.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*engine.Container
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		if c := f.containers[id]; engine.HasLabels(c.now.Spec.Labels, want) {
			out = append(out, c.snapshot())
		}
	}
	return out, nil
}

// Events implements engine.Engine.
func (f *Fake) Events(ctx context.Context) <-chan engine.Event { return f.hub.Subscribe(ctx) }

// Close implements engine.Engine. Programs go on.
func (f *Fake) Close() error { return nil }
