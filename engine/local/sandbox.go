package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/namespace"
)

// shmSize is the size of a sandbox's /dev/shm, as containerd's.
const shmSize = 64 << 20

// sandbox is what sandboxes/<id>.json holds.
type sandbox struct {
	Sandbox engine.Sandbox
	SHM     string // directory of the shared /dev/shm
	Pause   int    `json:",omitempty"` // process that holds the PID namespace

	gone bool // EventSandbox has been published
}

func (l *Local) sandboxFile(id string) string { return filepath.Join(l.sandboxesDir(), id+".json") }

// parentGroup is the group that a CgroupParent means.
func (l *Local) parentGroup(parent string) string {
	if parent == "" {
		return l.o.CgroupRoot + "/containers"
	}
	return l.o.CgroupRoot + filepath.Clean("/"+parent)
}

func (l *Local) pauseGroup(id string) string { return l.o.CgroupRoot + "/pause/" + id }

func limits(r *engine.Resources) cgroup.Limits {
	return cgroup.Limits{
		CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod, CPUSet: r.CPUSet, MemsSet: r.MemsSet,
		Memory: r.Memory, MemorySwap: r.MemorySwap, Reservation: r.Reservation, Pids: r.Pids, HugePages: r.HugePages, Unified: r.Unified,
	}
}

// CreateSandbox implements engine.Engine.
func (l *Local) CreateSandbox(ctx context.Context, spec engine.SandboxSpec) (_ *engine.Sandbox, err error) {
	if err := engine.ValidSandboxID(spec.ID); err != nil {
		return nil, err
	}
	if !validParent(spec.CgroupParent) {
		return nil, fmt.Errorf("%w: cgroup parent %q", engine.ErrInvalid, spec.CgroupParent)
	}
	l.Anticipate() // of its first container
	s := &sandbox{Sandbox: engine.Sandbox{Spec: spec, CreatedAt: time.Now()}}
	l.mu.Lock()
	if _, ok := l.sandboxes[spec.ID]; ok {
		l.mu.Unlock()
		return nil, fmt.Errorf("sandbox %s: %w", spec.ID, engine.ErrExists)
	}
	l.sandboxes[spec.ID] = s
	l.mu.Unlock()
	if err := l.makeSandbox(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("sandbox %s: %w", spec.ID, err), l.dropSandbox(spec.ID))
	}
	out := s.Sandbox
	return &out, nil
}

func validParent(p string) bool {
	return !slices.Contains(strings.Split(p, "/"), "..") && !strings.Contains(p, "\x00")
}

func (l *Local) makeSandbox(ctx context.Context, s *sandbox) error {
	spec := &s.Sandbox.Spec
	if err := l.cgroups.Create(l.parentGroup(spec.CgroupParent), limits(&spec.Resources)); err != nil {
		return err
	}
	dir := filepath.Join(l.nsDir(), spec.ID)
	// A host-network sandbox has the machine's name too, as Kubernetes wants it.
	net, ipc, err := l.shared(spec)
	if err != nil {
		return err
	}
	want := namespace.Spec{
		Net: !spec.HostNetwork && net == nil, IPC: !spec.HostIPC && ipc == nil,
		UTS: spec.UTS == "private" || spec.UTS == "" && !spec.HostNetwork && net == nil, Hostname: spec.Hostname, Sysctls: spec.Sysctls,
	}
	if err := namespace.Pin(dir, want); err != nil {
		return err
	}
	path := func(on bool, name string) string {
		if !on {
			return ""
		}
		return filepath.Join(dir, name)
	}
	s.Sandbox.NetNS, s.Sandbox.IPCNS, s.Sandbox.UTSNS = path(want.Net, namespace.Net), path(want.IPC, namespace.IPC), path(want.UTS, namespace.UTS)
	if net != nil {
		s.Sandbox.NetNS = net.Sandbox.NetNS
		if spec.UTS == "" {
			s.Sandbox.UTSNS, s.Sandbox.Spec.Hostname = net.Sandbox.UTSNS, net.Sandbox.Spec.Hostname
		}
	}
	s.SHM = "/dev/shm"
	switch {
	case ipc != nil:
		s.Sandbox.IPCNS, s.SHM = ipc.Sandbox.IPCNS, ipc.SHM
	case spec.NoSHM:
		s.SHM = ""
	case !spec.HostIPC:
		s.SHM = filepath.Join(dir, "shm")
		if err := os.Mkdir(s.SHM, 0o1777); err != nil {
			return err
		}
		if err := unix.Mount("shm", s.SHM, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=1777,size=%d", cmp.Or(spec.SHMSize, shmSize))); err != nil {
			return fmt.Errorf("mount %s: %w", s.SHM, err)
		}
	}
	if spec.PIDShared && !spec.HostPID {
		if err := l.startPause(ctx, s, dir); err != nil {
			return err
		}
	}
	return writeJSON(l.sandboxFile(spec.ID), s)
}

// shared finds the sandboxes whose namespaces spec wants; nil where none.
func (l *Local) shared(spec *engine.SandboxSpec) (net, ipc *sandbox, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, want := range []struct {
		id string
		to **sandbox
	}{{spec.NetOf, &net}, {spec.IPCOf, &ipc}} {
		if want.id == "" {
			continue
		}
		s, ok := l.sandboxes[want.id]
		if !ok {
			return nil, nil, fmt.Errorf("sandbox %s, whose namespaces are wanted: %w", want.id, engine.ErrNotFound)
		}
		*want.to = s
	}
	return net, ipc, nil
}

// startPause runs the holder of the sandbox's PID namespace and pins it.
func (l *Local) startPause(ctx context.Context, s *sandbox, dir string) error {
	r, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpPause})
	if err != nil {
		return err
	}
	s.Pause = r.PID
	group := l.pauseGroup(s.Sandbox.Spec.ID)
	err = l.cgroups.Create(group, cgroup.Limits{})
	if err == nil {
		err = l.cgroups.AddProc(group, r.PID)
	}
	if err == nil {
		err = namespace.PinPID(dir, r.PID)
	}
	if err != nil {
		unix.Kill(r.PID, unix.SIGKILL)
		return err
	}
	s.Sandbox.PIDNS = filepath.Join(dir, namespace.PID)
	return nil
}

// RemoveSandbox implements engine.Engine.
func (l *Local) RemoveSandbox(ctx context.Context, id string) error {
	l.mu.Lock()
	var in []string
	for cid, c := range l.containers {
		if c.now.Spec.Sandbox == id {
			in = append(in, cid)
		}
	}
	l.mu.Unlock()
	for _, cid := range in {
		if err := l.Remove(ctx, cid, true); err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
	}
	l.mu.Lock()
	if s, ok := l.sandboxes[id]; ok {
		l.publishGone(s)
	}
	l.mu.Unlock()
	return l.dropSandbox(id)
}

// publishGone tells once that the sandbox is of no use any more; l.mu is held.
func (l *Local) publishGone(s *sandbox) {
	if !s.gone {
		s.gone = true
		l.hub.Publish(engine.Event{Type: engine.EventSandbox, ID: s.Sandbox.Spec.ID, Time: time.Now()})
	}
}

// checkPause looks whether the init of a sandbox's PID namespace still lives. When
// it dies the kernel kills everything else in there, so that this is asked when a
// container has ended, and when one could not be started. l.mu is held.
func (l *Local) checkPause(id string) {
	if s, ok := l.sandboxes[id]; ok && s.Pause > 0 && !s.pauseLives() {
		l.publishGone(s)
	}
}

func (s *sandbox) pauseLives() bool {
	dir := fmt.Sprintf("/proc/%d", s.Pause)
	var is, was unix.Stat_t
	if unix.Stat(dir+"/ns/pid", &is) != nil || unix.Stat(s.Sandbox.PIDNS, &was) != nil || is.Ino != was.Ino || is.Dev != was.Dev {
		return false // ended, or its id belongs to another process now
	}
	// Of the fields after the name the first is the state, the seventh the flags.
	stat, err := os.ReadFile(dir + "/stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if err != nil || len(fields) < 7 {
		return false
	}
	const exiting = 0x4 // PF_EXITING
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&exiting == 0 && fields[0] != "Z" && fields[0] != "X"
}

// groupShared tells whether another sandbox is in the control group of s, or in one
// below it; l.mu is held.
func (l *Local) groupShared(s *sandbox) bool {
	group := l.parentGroup(s.Sandbox.Spec.CgroupParent) + "/"
	for _, o := range l.sandboxes {
		if o != s && strings.HasPrefix(l.parentGroup(o.Sandbox.Spec.CgroupParent)+"/", group) {
			return true
		}
	}
	return false
}

// dropSandbox unpins what there is of a sandbox, also of a half-made one. Its
// containers do not run any more.
func (l *Local) dropSandbox(id string) error {
	l.mu.Lock()
	s, ok := l.sandboxes[id]
	shared := ok && l.groupShared(s)
	l.mu.Unlock()
	if !ok {
		return nil
	}
	var errs []error
	groups := []string{l.pauseGroup(id)}
	if !shared && s.Sandbox.Spec.CgroupParent != "" {
		groups = append(groups, l.parentGroup(s.Sandbox.Spec.CgroupParent))
	}
	for _, g := range groups {
		errs = append(errs, l.cgroups.Kill(g), retryBusy(func() error { return l.cgroups.Remove(g) }))
	}
	errs = append(errs, namespace.Unpin(filepath.Join(l.nsDir(), id))) // and /dev/shm beside them
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	if err := os.Remove(l.sandboxFile(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sandboxes, id)
	return nil
}

// Sandboxes implements engine.Engine.
func (l *Local) Sandboxes(ctx context.Context) ([]*engine.Sandbox, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*engine.Sandbox, 0, len(l.sandboxes))
	for _, s := range l.sandboxes {
		c := s.Sandbox
		out = append(out, &c)
	}
	slices.SortFunc(out, func(a, b *engine.Sandbox) int { return strings.Compare(a.Spec.ID, b.Spec.ID) })
	return out, nil
}
