package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/engine/monitor/wire"
)

// record is what container.json holds.
type record struct {
	Spec      engine.ContainerSpec
	ImageID   string
	ImageRef  string
	Image     imagespec.ImageConfig
	Lower     []string
	CreatedAt time.Time
}

// container is one container.
type container struct {
	// op is held by an operation that changes the container, for as long as it
	// takes. Local.mu guards the rest.
	op     sync.Mutex
	record record
	now    engine.Container
	// starting tells that Start is at work: the monitor knows what comes of it.
	starting bool
	done     chan struct{} // closed when the current run has ended
	cleaned  bool          // nothing of a run is left
	removed  bool
	terminal int // a copy of the terminal's master, kept for the next monitor; or -1
}

func (c *container) snapshot() *engine.Container {
	s := c.now
	return &s
}

func (c *container) setExit(e *wire.Exit) {
	c.now.State, c.now.PID, c.now.Paused = engine.Exited, 0, false
	c.now.ExitCode, c.now.FinishedAt, c.now.OOMKilled, c.now.Message = e.Code, e.FinishedAt, e.OOM, e.Message
	if !isClosed(c.done) {
		close(c.done)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// command is what the container executes.
func (c *container) command() string {
	args, err := engine.ProcessArgs(&c.record.Spec, &c.record.Image)
	if err != nil {
		return ""
	}
	return args[0]
}

func (c *container) keepTerminal(fd int) {
	if c.terminal >= 0 {
		unix.Close(c.terminal)
	}
	c.terminal = fd
}

// find returns a container by id or name. The caller holds l.mu.
func (l *Local) find(id string) (*container, error) {
	if c, ok := l.containers[id]; ok {
		return c, nil
	}
	if full, ok := l.names[id]; ok {
		return l.containers[full], nil
	}
	return nil, fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
}

func (l *Local) lookup(id string) (*container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(id)
}

// group is a container's control group.
func (l *Local) group(c *container) string {
	parent := c.record.Spec.CgroupParent
	if s, ok := l.sandboxes[c.record.Spec.Sandbox]; ok && parent == "" {
		parent = s.Sandbox.Spec.CgroupParent
	}
	return l.parentGroup(parent) + "/" + c.record.Spec.ID
}

func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Create implements engine.Engine.
func (l *Local) Create(ctx context.Context, spec engine.ContainerSpec) (*engine.Container, error) {
	if spec.ID == "" {
		spec.ID = newID()
	}
	if err := engine.ValidContainerID(spec.ID); err != nil {
		return nil, err
	}
	if !validParent(spec.CgroupParent) {
		return nil, fmt.Errorf("%w: cgroup parent %q", engine.ErrInvalid, spec.CgroupParent)
	}
	c := &container{terminal: -1, done: make(chan struct{}), cleaned: true}
	c.op.Lock()
	defer c.op.Unlock()
	made := func(run imagestore.Run) error {
		c.record = record{Spec: spec, ImageID: run.ID, ImageRef: run.Ref, Image: run.Config.Config, Lower: run.Lower, CreatedAt: time.Now()}
		if spec.Skeleton {
			c.record.Lower = append([]string{l.skeletonDir()}, run.Lower...)
		}
		if len(c.record.Lower) == 0 {
			c.record.Lower = []string{filepath.Join(l.stateDir(spec.ID), "none")}
		}
		c.now = engine.Container{Spec: spec, State: engine.Created, ImageID: run.ID, ImageRef: run.Ref, CreatedAt: c.record.CreatedAt}
		return l.reserve(c)
	}
	var err error
	if spec.Skeleton {
		err = l.makeSkeleton()
	}
	switch {
	case err != nil:
	case spec.Image == "":
		err = made(imagestore.Run{}) // of nothing
	default:
		err = l.images.Use(ctx, spec.Image, made)
	}
	if err != nil {
		return nil, err
	}
	if err := l.makeContainer(c); err != nil {
		l.release(c)
		return nil, errors.Join(err, os.RemoveAll(l.stateDir(spec.ID)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish(engine.EventCreated, c)
	return c.snapshot(), nil
}

// reserve takes the container's id and name, and by that its image.
func (l *Local) reserve(c *container) error {
	spec := &c.record.Spec
	l.mu.Lock()
	defer l.mu.Unlock()
	if spec.Sandbox != "" && l.sandboxes[spec.Sandbox] == nil {
		return fmt.Errorf("sandbox %s: %w", spec.Sandbox, engine.ErrNotFound)
	}
	if _, ok := l.containers[spec.ID]; ok {
		return fmt.Errorf("container %s: %w", spec.ID, engine.ErrExists)
	}
	if other, ok := l.names[spec.Name]; ok && spec.Name != "" {
		return fmt.Errorf("container %s has the name %s: %w", other, spec.Name, engine.ErrExists)
	}
	l.containers[spec.ID] = c
	if spec.Name != "" {
		l.names[spec.Name] = spec.ID
	}
	return nil
}

func (l *Local) release(c *container) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.removed = true
	delete(l.containers, c.record.Spec.ID)
	if l.names[c.record.Spec.Name] == c.record.Spec.ID {
		delete(l.names, c.record.Spec.Name)
	}
}

// makeContainer checks what can be checked before a start, and makes the state
// directory; container.json comes last and makes it whole.
func (l *Local) makeContainer(c *container) error {
	if _, err := l.config(c); err != nil {
		return err
	}
	dir := l.stateDir(c.record.Spec.ID)
	for _, d := range []string{dir, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "none")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return noSpace(err)
		}
	}
	if p := c.record.Spec.LogPath; p != "" {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return noSpace(err)
		}
	}
	return noSpace(writeJSON(filepath.Join(dir, containerFile), &c.record))
}

func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: %w", engine.ErrNoSpace, err)
	}
	return err
}

// config decides what the runtime is told. The user is looked up in the layers.
func (l *Local) config(c *container) (*bundleConfig, error) {
	spec := &c.record.Spec
	user, err := l.user(c, spec.User)
	if err != nil {
		return nil, err
	}
	in := bundle.Input{Spec: spec, Image: &c.record.Image, Root: filepath.Join(l.bundleDir(spec.ID), "rootfs"), User: user}
	if spec.Init {
		if in.Init, err = l.mon.Path(); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	in.Cgroup = l.group(c)
	if s, ok := l.sandboxes[spec.Sandbox]; ok {
		sb := s.Sandbox
		in.Sandbox, in.SHM = &sb, s.SHM
	}
	if spec.PIDOf != "" {
		var target *container
		if target, err = l.find(spec.PIDOf); err == nil && target.now.PID == 0 {
			err = engine.ErrNotRun
		}
		if err == nil {
			in.PIDNS = fmt.Sprintf("/proc/%d/ns/pid", target.now.PID)
		}
	}
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("share the processes of container %s: %w", spec.PIDOf, err)
	}
	if spec.Sandbox != "" && in.Sandbox == nil {
		return nil, fmt.Errorf("sandbox %s: %w", spec.Sandbox, engine.ErrNotFound)
	}
	s, err := bundle.Config(in, l.machine)
	if err != nil {
		return nil, err
	}
	return &bundleConfig{s, in.Cgroup}, nil
}

// user resolves a user's name; "" is the image's.
func (l *Local) user(c *container, name string) (bundle.User, error) {
	if name == "" {
		name = c.record.Image.User
	}
	dirs := []string{filepath.Join(l.stateDir(c.record.Spec.ID), "upper")}
	for _, d := range c.record.Lower {
		dirs = append(dirs, l.layer(d))
	}
	group := layeredFile(dirs, "etc", "group")
	u, err := bundle.LookupUser(name, c.record.Spec.Groups, layeredFile(dirs, "etc", "passwd"), group)
	if err != nil {
		return u, err
	}
	return bundle.AddGroups(u, c.record.Spec.GroupNames, group)
}

// layer is the directory of a lower layer, which may be absolute.
func (l *Local) layer(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.images.Layers(), name)
}

// maxAccounts bounds /etc/passwd and /etc/group.
const maxAccounts = 4 << 20

// layeredFile reads dir/name from the uppermost of the layers that has it, as the
// overlay of them would show it.
func layeredFile(layers []string, dir, name string) []byte {
	for _, layer := range layers {
		b, found, last := fileInLayer(layer, dir, name)
		if found || last {
			return b
		}
	}
	return nil
}

// fileInLayer tells in last that layers below do not show through.
func fileInLayer(layer, dir, name string) (b []byte, found, last bool) {
	root, err := os.OpenRoot(layer)
	if err != nil {
		return nil, false, false
	}
	defer root.Close()
	if whiteout(root, dir) {
		return nil, false, true
	}
	f, err := root.Open(dir + "/" + name)
	if err == nil {
		defer f.Close()
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return nil, false, true // whiteouts are character devices
		}
		b, _ = io.ReadAll(io.LimitReader(f, maxAccounts))
		return b, true, true
	}
	opaque := make([]byte, 1)
	n, err := unix.Lgetxattr(filepath.Join(layer, dir), "trusted.overlay.opaque", opaque)
	return nil, false, err == nil && n == 1 && opaque[0] == 'y'
}

func whiteout(root *os.Root, name string) bool {
	st, err := root.Lstat(name)
	return err == nil && st.Mode()&fs.ModeCharDevice != 0
}

// Get implements engine.Engine.
func (l *Local) Get(ctx context.Context, id string) (*engine.Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := l.find(id)
	if err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

// List implements engine.Engine.
func (l *Local) List(ctx context.Context, want map[string]string) ([]*engine.Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*engine.Container
	for _, c := range l.containers {
		if engine.HasLabels(c.now.Spec.Labels, want) {
			out = append(out, c.snapshot())
		}
	}
	slices.SortFunc(out, func(a, b *engine.Container) int { return strings.Compare(a.Spec.ID, b.Spec.ID) })
	return out, nil
}

// Remove implements engine.Engine.
func (l *Local) Remove(ctx context.Context, id string, force bool) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	running := c.now.State == engine.Running
	l.mu.Unlock()
	if running && !force {
		return fmt.Errorf("remove %s: %w", id, engine.ErrRunning)
	}
	if running {
		if err := l.Stop(ctx, c.record.Spec.ID, 0); err != nil {
			return err
		}
	}
	c.op.Lock()
	defer c.op.Unlock()
	l.mu.Lock()
	running, removed := c.now.State == engine.Running, c.removed
	l.mu.Unlock()
	switch {
	case removed:
		return fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
	case running:
		return fmt.Errorf("remove %s: it was started meanwhile: %w", id, engine.ErrRunning)
	}
	if err := l.clean(ctx, c); err != nil {
		return err
	}
	dir := l.stateDir(c.record.Spec.ID)
	// Without its record the rest is half made, and is removed after a crash.
	if err := os.Remove(filepath.Join(dir, containerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	l.release(c)
	l.mu.Lock()
	c.keepTerminal(-1)
	l.publish(engine.EventRemoved, c)
	last := true
	for _, o := range l.containers {
		last = last && o.now.ImageID != c.now.ImageID
	}
	l.mu.Unlock()
	if last {
		return l.images.Release(ctx)
	}
	return nil
}

// publish tells a container's state; l.mu is held.
func (l *Local) publish(t engine.EventType, c *container) {
	l.hub.Publish(engine.Event{Type: t, ID: c.now.Spec.ID, Container: c.snapshot(), Time: time.Now()})
}
