package build

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	ctdoci "github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/llbsolver/cdidevices"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/kernel/mount"
)

// Runtime is the OCI runtime that runs the containers of RUN.
type Runtime struct {
	Path string
	// Crun tells that it is crun, not runc.
	Crun bool
	// Hide is a mount that it must not see; "" is none.
	Hide string
}

// command calls the runtime. Its state is below dir, so that one process's builds
// are told from another's.
func (r Runtime) command(ctx context.Context, dir, log string, args ...string) *exec.Cmd {
	all := []string{"--root", filepath.Join(dir, "state")}
	if r.Crun {
		all = append(all, "--cgroup-manager=cgroupfs")
	}
	if log != "" {
		all = append(all, "--log="+log, "--log-format=json")
	}
	return exec.CommandContext(ctx, r.Path, append(all, args...)...)
}

// runner implements BuildKit's executor: one container for each RUN, a child of this
// process that ends with it.
type runner struct {
	root     string
	parent   string
	runtime  Runtime
	networks map[pb.NetMode]network.Provider

	mu      sync.Mutex
	running map[string]string // bundle by id
}

var _ executor.Executor = (*runner)(nil)

func newRunner(root, parent string, r Runtime, networks map[pb.NetMode]network.Provider) (*runner, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	return &runner{root: real, parent: parent, runtime: r, networks: networks, running: map[string]string{}}, nil
}

// errTerminal is the one thing that containers of builds cannot have.
var errTerminal = fmt.Errorf("%w: a container of a build has no terminal", engine.ErrInvalid)

// Run implements executor.Executor.
func (r *runner) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo, started chan<- struct{}) (_ resourcestypes.Recorder, err error) {
	if started != nil {
		defer sync.OnceFunc(func() { close(started) })()
	}
	if id == "" {
		id = identity.NewID()
	}
	if err := executor.ValidContainerID(id); err != nil {
		return nil, err
	}
	if p.Meta.Tty {
		return nil, errTerminal
	}
	provider, ok := r.networks[p.Meta.NetMode]
	if !ok || p.Meta.Proxy != nil {
		return nil, fmt.Errorf("%w: network mode %s of a build", engine.ErrInvalid, p.Meta.NetMode)
	}
	ns, err := provider.New(ctx, p.Meta.Hostname, network.NamespaceOptions{})
	if err != nil {
		return nil, fmt.Errorf("network of a build: %w", err)
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	bundle := filepath.Join(r.root, id)
	if err := os.Mkdir(bundle, 0o711); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bundle)) }()
	clean, err := r.bundle(ctx, id, bundle, root, mounts, p.Meta, ns)
	defer func() { err = errors.Join(err, clean()) }()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.running[id] = bundle
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.running, id)
		r.mu.Unlock()
	}()
	log := filepath.Join(bundle, "runtime.log")
	err = r.call(ctx, id, log, p, "run", "--bundle", bundle, id)
	return nil, errors.Join(err, r.delete(id))
}

// delete takes away what the runtime has kept of a container that has ended: runc and
// crun do so themselves, unless they were killed.
func (r *runner) delete(id string) error {
	if _, err := os.Stat(filepath.Join(r.root, "state", id)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return mount.Without(r.runtime.Hide, func() error {
		out, err := r.runtime.command(background, r.root, "", "delete", "--force", id).CombinedOutput()
		if err != nil {
			return fmt.Errorf("delete a build's container: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// call runs the runtime with the process's streams until the process ends.
func (r *runner) call(ctx context.Context, id, log string, p executor.ProcessInfo, args ...string) error {
	err := mount.Without(r.runtime.Hide, func() error {
		cmd := r.runtime.command(ctx, r.root, log, args...)
		cmd.Stdin, cmd.Stdout = reader(p.Stdin), writer(p.Stdout)
		if p.Stderr != nil {
			errs := &ownErrors{w: p.Stderr, log: log}
			defer errs.flush()
			cmd.Stderr = errs
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		cmd.WaitDelay = 10 * time.Second
		cmd.Cancel = func() error {
			out, err := r.runtime.command(background, r.root, "", "kill", id, "KILL").CombinedOutput()
			if err != nil {
				// It has not come to life, or has ended.
				return errors.Join(fmt.Errorf("%w: %s", err, bytes.TrimSpace(out)), cmd.Process.Kill())
			}
			return nil
		}
		return cmd.Run()
	})
	return exitError(ctx, err, log, p.Meta.ValidExitCodes)
}

// reader and writer keep a nil of an interface from becoming one that is not.
func reader(r io.ReadCloser) io.Reader {
	if r == nil {
		return nil
	}
	return r
}

func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// ownErrors is the process's stream of errors without those of the runtime, which
// writes them here beside its log. They are the first that is written, and the
// runtime ends after them: the first piece is held back until it is known whose it is.
type ownErrors struct {
	w   io.Writer
	log string

	mu    sync.Mutex
	begun bool
	held  []byte
	timer *time.Timer
	err   error
}

// holdTime is how long the process's own errors may be late.
const holdTime = 50 * time.Millisecond

func (o *ownErrors) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun {
		o.begun = true
		o.held = bytes.Clone(p)
		o.timer = time.AfterFunc(holdTime, o.flush)
		return len(p), nil
	}
	o.release()
	if o.err != nil {
		return 0, o.err
	}
	return o.w.Write(p)
}

func (o *ownErrors) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.release()
}

func (o *ownErrors) release() {
	if o.held == nil {
		return
	}
	o.timer.Stop()
	if lastError(o.log) == "" {
		_, o.err = o.w.Write(o.held)
	}
	o.held = nil
}

// exitError is BuildKit's error of a process that did not end as it should.
func exitError(ctx context.Context, err error, log string, valid []int) error {
	var exit *exec.ExitError
	code := 0
	switch {
	case err == nil:
	case errors.As(err, &exit):
		if code = exit.ExitCode(); code < 0 {
			code = 128 + int(syscall.SIGKILL)
		}
	default:
		return err
	}
	out := &gatewaypb.ExitError{ExitCode: uint32(code)}
	if ctx.Err() != nil {
		out.Err = context.Cause(ctx)
		return out
	}
	if why := lastError(log); why != "" && code != 0 {
		out.Err = &StartError{why}
		return out
	}
	if code == 0 && valid == nil || slices.Contains(valid, code) {
		return nil
	}
	return out
}

// StartError is what the runtime says of a process that it could not start.
type StartError struct{ Why string }

func (e *StartError) Error() string { return "the command cannot be started: " + e.Why }

// lastError is the last error in a runtime's log, "" if there is none.
func lastError(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	last := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		var line struct{ Level, Msg string }
		if json.Unmarshal(s.Bytes(), &line) == nil && (line.Level == "error" || line.Level == "fatal") {
			last = strings.TrimSpace(line.Msg)
		}
	}
	return last
}

// bundle writes what the runtime runs. clean takes the mounts away; it is never nil.
func (r *runner) bundle(ctx context.Context, id, dir string, root executor.Mount, mounts []executor.Mount, meta executor.Meta, ns network.Namespace) (clean func() error, err error) {
	var undo []func() error
	clean = func() error {
		var errs []error
		for _, u := range slices.Backward(undo) {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	here, err := os.OpenRoot(r.root)
	if err != nil {
		return clean, err
	}
	defer here.Close()
	resolv, err := oci.GetResolvConf(ctx, here, nil, nil, meta.NetMode)
	if err != nil {
		return clean, err
	}
	hosts, drop, err := oci.GetHostsFile(ctx, here, meta.ExtraHosts, nil, meta.Hostname)
	if err != nil {
		return clean, err
	}
	if drop != nil {
		undo = append(undo, func() error { drop(); return nil })
	}
	rootfs := filepath.Join(dir, "rootfs")
	release, err := mountRoot(ctx, root, rootfs)
	if err != nil {
		return clean, err
	}
	undo = append(undo, release)
	stubs := executor.MountStubsCleaner(context.WithoutCancel(ctx), rootfs, mounts, meta.RemoveMountStubsRecursive)
	undo = append(undo, func() error { stubs(); return nil })
	uid, gid, groups, err := oci.GetUser(rootfs, meta.User)
	if err != nil {
		return clean, err
	}
	opts := []ctdoci.SpecOpts{oci.WithUIDGID(uid, gid, groups)}
	if meta.ReadonlyRootFS {
		opts = append(opts, ctdoci.WithRootFSReadonly())
	}
	var noDevices *cdidevices.Manager
	spec, done, err := oci.GenerateSpec(ctx, meta, mounts, id, filepath.Join(r.root, resolv), filepath.Join(r.root, hosts), ns, r.parent, oci.ProcessSandbox, nil, "", false, "", noDevices, opts...)
	if err != nil {
		return clean, err
	}
	undo = append(undo, func() error { done(); return nil })
	// What runc 1.1 and crun 1.8 know.
	spec.Version = "1.0.2"
	spec.Root.Path = rootfs
	spec.Root.Readonly = spec.Root.Readonly || root.Readonly
	if err := workDir(rootfs, meta.Cwd, int(uid), int(gid)); err != nil {
		return clean, err
	}
	return clean, writeSpec(filepath.Join(dir, "config.json"), spec)
}

func mountRoot(ctx context.Context, root executor.Mount, rootfs string) (release func() error, err error) {
	ref, err := root.Src.Mount(ctx, false)
	if err != nil {
		return nil, err
	}
	mounts, drop, err := ref.Mount()
	if err != nil {
		return nil, err
	}
	if drop == nil {
		drop = func() error { return nil }
	}
	if err := os.Mkdir(rootfs, 0o700); err != nil {
		return nil, errors.Join(err, drop())
	}
	if err := ctdmount.All(mounts, rootfs); err != nil {
		return nil, errors.Join(err, drop())
	}
	return func() error { return errors.Join(ctdmount.Unmount(rootfs, 0), drop()) }, nil
}

// workDir makes the directory in which the command runs.
func workDir(rootfs, cwd string, uid, gid int) error {
	dir, err := fs.RootPath(rootfs, cwd)
	if err != nil {
		return fmt.Errorf("working directory %s: %w", cwd, err)
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := user.MkdirAllAndChown(dir, 0o755, uid, gid); err != nil {
		return fmt.Errorf("working directory %s: %w", cwd, err)
	}
	return nil
}

func writeSpec(path string, spec any) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Exec implements executor.Executor: a further process in a container that runs.
func (r *runner) Exec(ctx context.Context, id string, p executor.ProcessInfo) error {
	r.mu.Lock()
	bundle, ok := r.running[id]
	r.mu.Unlock()
	if !ok {
		return fmt.Errorf("container %s of a build: %w", id, engine.ErrNotFound)
	}
	if p.Meta.Tty {
		return errTerminal
	}
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return err
	}
	proc := spec.Process
	proc.Args = p.Meta.Args
	if p.Meta.Cwd != "" {
		proc.Cwd = p.Meta.Cwd
	}
	if len(p.Meta.Env) > 0 {
		proc.Env = p.Meta.Env
	}
	if p.Meta.User != "" {
		uid, gid, groups, err := oci.GetUser(filepath.Join(bundle, "rootfs"), p.Meta.User)
		if err != nil {
			return err
		}
		proc.User = specs.User{UID: uid, GID: gid, AdditionalGids: groups}
	}
	name := filepath.Join(bundle, "exec-"+identity.NewID())
	if err := writeSpec(name+".json", proc); err != nil {
		return err
	}
	return r.call(ctx, id, name+".log", p, "exec", "--process", name+".json", id)
}
