// Package local is the engine on this machine: images in engine/imagestore,
// namespaces and control groups by the kernel room, containers run by crun or runc
// under engine/monitor. All state that must outlive this process is in files: what
// a container is, in its state directory below Root; that it runs, with the
// monitor and below RunDir, which does not outlive the machine's run.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/engine/monitor"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/mount"
	"skiff.dev/skiff/telemetry"
)

// Options of Open.
type Options struct {
	Root   string // what lasts: images, containers
	RunDir string // what ends with the machine's run: sockets, namespaces, bundles
	// Instance tells several engines on one machine apart; it is short and becomes
	// part of names.
	Instance string
	// CgroupRoot is the group above all of ours; "" is /skiff-<Instance>.
	CgroupRoot string
	Telemetry  *telemetry.Telemetry
	// Runtime is the name or path of the OCI runtime; "" is the best one found.
	Runtime string
	// Monitor gives the monitor's program; nil is the embedded one.
	Monitor func() ([]byte, error)
	// Cgroups is the machine's control groups; nil detects them.
	Cgroups cgroup.Tree
}

// complete fills in defaults and spells the directories out as the kernel lists
// mounts: absolute and without symbolic links, as far as they exist.
func (o *Options) complete() error {
	if o.CgroupRoot == "" {
		o.CgroupRoot = "/skiff-" + o.Instance
	}
	for _, dir := range []*string{&o.Root, &o.RunDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		rest := ""
		for at := abs; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
			if real, err := filepath.EvalSymlinks(at); err == nil {
				*dir = filepath.Join(real, rest)
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Local implements engine.Engine.
type Local struct {
	o       Options
	tel     *telemetry.Telemetry
	images  *imagestore.Store
	mon     *monitor.Client
	cgroups cgroup.Tree
	machine *bundle.Machine
	runtime *ociRuntime
	filters filters
	lock    *os.File

	hub engine.Hub

	expecting atomic.Bool // a move of a process is being prepared

	// mu guards the maps and every container's state; it is held for moments only.
	mu         sync.Mutex
	containers map[string]*container
	names      map[string]string // to id
	sandboxes  map[string]*sandbox

	stop   context.CancelFunc
	ended  sync.WaitGroup
	synced chan struct{} // closed when the monitor's containers are known
}

var _ engine.Engine = (*Local)(nil)

// Open opens the engine and adopts what an earlier process has left: running
// containers run on, half-made ones are removed. Close it.
func Open(ctx context.Context, o Options) (_ *Local, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("containers need root: run skiff as root")
	}
	if o.Monitor == nil {
		o.Monitor = monitor.Program
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Local{
		o: o, tel: o.Telemetry.For("engine"), cgroups: o.Cgroups,
		containers: map[string]*container{}, names: map[string]string{}, sandboxes: map[string]*sandbox{},
		stop: func() {}, synced: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			l.abandon()
		}
	}()
	if l.cgroups == nil {
		if l.cgroups, err = cgroup.Detect(); err != nil {
			return nil, err
		}
	}
	if err := l.prepareDirs(); err != nil {
		return nil, err
	}
	l.machine = newMachine(l.cgroups.Version(), l.lowered())
	if l.images, err = imagestore.Open(ctx, filepath.Join(o.Root, "images"), l.tel, l.imageInUse); err != nil {
		return nil, err
	}
	if err := l.cgroups.Create(o.CgroupRoot+"/monitor", cgroup.Limits{}); err != nil {
		return nil, err
	}
	l.mon = monitor.New(o.RunDir, o.Monitor, func(pid int) {
		// Not in our own group, where a service manager would end it with us.
		if err := l.cgroups.AddProc(o.CgroupRoot+"/monitor", pid); err != nil {
			l.tel.Log.Warn("the monitor stays in skiff's control group", "err", err)
		}
	})
	if _, err := l.mon.Ensure(ctx); err != nil {
		return nil, err
	}
	if l.runtime, err = l.chooseRuntime(ctx); err != nil {
		return nil, err
	}
	if err := l.loadState(); err != nil {
		return nil, err
	}
	if err := l.follow(ctx); err != nil {
		return nil, err
	}
	l.sweep()
	return l, nil
}

// abandon closes an engine that could not be opened. Where no container runs,
// nothing of it stays on the machine.
func (l *Local) abandon() {
	l.stop()
	l.ended.Wait()
	idle := false
	if l.mon != nil && l.lock != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// It refuses while it has containers that run.
		_, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpShutdown})
		idle = err == nil
	}
	if idle {
		l.complain("run directory", clearRunDir(l.o.RunDir))
		l.complain("control group", retryBusy(func() error { return l.cgroups.Remove(l.o.CgroupRoot) }))
	}
	l.Close()
}

// prepareDirs makes the directories and takes the lock on them.
func (l *Local) prepareDirs() error {
	for _, d := range []string{l.o.Root, l.containersDir(), l.sandboxesDir(), l.o.RunDir, l.bundlesDir(), l.nsDir(), l.runtimeRoot()} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return fmt.Errorf("engine's directories: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(l.o.Root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%w: another process runs the engine in %s", engine.ErrInUse, l.o.Root)
	}
	l.lock = f
	// Roots are mounted in the runtime's view of bundlesDir alone.
	return mount.PrivateDir(l.bundlesDir())
}

func (l *Local) containersDir() string { return filepath.Join(l.o.Root, "containers") }
func (l *Local) sandboxesDir() string  { return filepath.Join(l.o.Root, "sandboxes") }
func (l *Local) nsDir() string         { return filepath.Join(l.o.RunDir, "ns") }
func (l *Local) runtimeRoot() string   { return filepath.Join(l.o.RunDir, "rt") }

// bundlesDir is where the monitor looks for containers to adopt.
func (l *Local) bundlesDir() string { return filepath.Join(l.o.RunDir, "c") }

func (l *Local) stateDir(id string) string  { return filepath.Join(l.containersDir(), id) }
func (l *Local) bundleDir(id string) string { return filepath.Join(l.bundlesDir(), id) }

// lowered logs, once each, what the machine does not allow.
func (l *Local) lowered() func(string) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(what string) {
		mu.Lock()
		first := !said[what]
		said[what] = true
		mu.Unlock()
		if first {
			l.tel.Log.Warn("limited by this machine", "what", what)
		}
	}
}

func (l *Local) imageInUse(id string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.containers {
		if c.now.ImageID == id {
			return c.now.Spec.ID, true
		}
	}
	return "", false
}

// Images implements engine.Engine.
func (l *Local) Images() engine.Images { return l.images }

// Runtime is the path and version of the OCI runtime in use.
func (l *Local) Runtime() (path, version string) { return l.runtime.Path, l.runtime.Version }

// Events implements engine.Engine.
func (l *Local) Events(ctx context.Context) <-chan engine.Event { return l.hub.Subscribe(ctx) }

// Close implements engine.Engine.
func (l *Local) Close() error {
	l.stop()
	l.ended.Wait()
	l.mu.Lock()
	for _, c := range l.containers {
		c.keepTerminal(-1)
	}
	l.mu.Unlock()
	var errs []error
	if l.images != nil {
		errs = append(errs, l.images.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
		l.lock = nil
	}
	return errors.Join(errs...)
}

// Down stops all containers, each with grace, and the monitor, and takes away
// what they have on the machine but not in Root. The engine is closed by it.
func (l *Local) Down(ctx context.Context, grace time.Duration) error {
	all, err := l.List(ctx, nil)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, c := range all {
		wg.Go(func() { errs[i] = l.Stop(ctx, c.Spec.ID, grace) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	boxes, err := l.Sandboxes(ctx)
	if err != nil {
		return err
	}
	for _, s := range boxes {
		errs = append(errs, l.dropSandbox(s.Spec.ID))
	}
	l.stop()
	l.ended.Wait()
	if _, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpShutdown}); err != nil {
		errs = append(errs, fmt.Errorf("stop the monitor: %w", err))
	}
	errs = append(errs, l.Close(), clearRunDir(l.o.RunDir), retryBusy(func() error { return l.cgroups.Remove(l.o.CgroupRoot) }))
	return errors.Join(errs...)
}

// clearRunDir takes away mounts and files below an engine's RunDir.
func clearRunDir(dir string) error {
	if err := mount.UnmountBelow(filepath.Join(dir)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// Wipe removes every trace of an engine that no process has open: its containers
// are killed. Directories and groups that do not exist are no error.
func Wipe(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	tree := o.Cgroups
	if tree == nil {
		var err error
		if tree, err = cgroup.Detect(); err != nil {
			return err
		}
	}
	if f, err := os.OpenFile(filepath.Join(o.Root, "lock"), os.O_RDWR, 0); err == nil {
		defer f.Close()
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return fmt.Errorf("%w: a process runs the engine in %s", engine.ErrInUse, o.Root)
		}
	}
	if err := tree.Kill(o.CgroupRoot); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := retryBusy(func() error { return tree.Remove(o.CgroupRoot) }); err != nil {
		return err
	}
	if err := mount.UnmountBelow(o.Root); err != nil {
		return err
	}
	return errors.Join(clearRunDir(o.RunDir), os.RemoveAll(o.Root))
}

// retryBusy tries again while processes that were killed are still on their way
// out of a control group: the kernel tells nobody when they have left.
func retryBusy(f func() error) error {
	var err error
	for range 500 {
		if err = f(); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return err
}
