// Package bundle turns a container's specification and its image's configuration
// into the OCI runtime's. It decides and does not act: what it must know of the
// machine and of the root filesystem is handed in. What it writes is accepted by
// runc 1.1 and crun 1.8 (runtime specification 1.0.2).
package bundle

import (
	"fmt"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

// Machine is what bundles depend on of the machine they run on.
type Machine struct {
	CgroupVersion int
	// Capabilities that a process may be given here, as "CAP_CHOWN".
	Capabilities []string
	// Resource tells whether oom_score_adj may be lowered and hard limits raised
	// (CAP_SYS_RESOURCE); OOMScoreAdj and HardLimit are what we have ourselves.
	Resource    bool
	OOMScoreAdj int
	HardLimit   func(name string) (uint64, bool)
	// Device looks up a device node; HostDevices lists all, for the privileged.
	Device      func(path string) ([]specs.LinuxDevice, error)
	HostDevices func() []specs.LinuxDevice
	// Lowered is told, for each thing that could not be had as asked for.
	Lowered func(what string)
}

// Input of one container.
type Input struct {
	Spec    *engine.ContainerSpec
	Image   *imagespec.ImageConfig
	Sandbox *engine.Sandbox // nil without one
	SHM     string          // directory to bind at /dev/shm, "" for one of its own
	PIDNS   string          // PID namespace to join instead of the sandbox's; "" for none
	Root    string          // where the runtime finds the root filesystem
	Cgroup  string          // the container's own group
	User    User
	Init    string // the init's program on the machine, for Spec.Init
}

// initPath is where a container with an init finds it, as in Docker.
const initPath = "/sbin/docker-init"

// Config writes the runtime's configuration.
func Config(in Input, m *Machine) (*specs.Spec, error) {
	c := in.Spec
	args, err := engine.ProcessArgs(c, in.Image)
	if err != nil {
		return nil, err
	}
	if c.Init && in.Init != "" {
		args = append([]string{initPath, "--"}, args...)
	}
	hostname := c.Hostname
	if in.Sandbox != nil {
		hostname = in.Sandbox.Spec.Hostname
	}
	s := &specs.Spec{
		Version:     "1.0.2",
		Root:        &specs.Root{Path: in.Root, Readonly: c.ReadonlyRoot},
		Annotations: map[string]string{},
		Process: &specs.Process{
			Terminal:        c.TTY,
			Args:            args,
			Env:             environment(in.Image.Env, c.Env, hostname, c.TTY, in.User),
			Cwd:             workingDir(c.WorkingDir, in.Image.WorkingDir),
			User:            in.User.oci(),
			Capabilities:    capabilities(c, m),
			NoNewPrivileges: c.NoNewPrivileges,
		},
		Linux: &specs.Linux{
			CgroupsPath: in.Cgroup,
			Resources:   resources(&c.Resources),
			Sysctl:      c.Sysctls,
		},
	}
	for k, v := range c.Annotations {
		s.Annotations[k] = v
	}
	s.Process.ApparmorProfile = c.AppArmor
	s.Process.User.Umask = c.Umask
	if err := setBlock(s.Linux.Resources, &c.Resources.Block, m); err != nil {
		return nil, err
	}
	setNamespaces(s, &in, m)
	setOOMScoreAdj(s.Process, c.OOMScoreAdj, m)
	setRlimits(s.Process, c.Rlimits, m)
	if err := setMounts(s, &in, m); err != nil {
		return nil, err
	}
	if err := setDevices(s, c, m); err != nil {
		return nil, err
	}
	if !c.Privileged && !c.Unmasked {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	if c.MaskedPaths != nil {
		s.Linux.MaskedPaths = *c.MaskedPaths
	}
	if c.ReadonlyPaths != nil {
		s.Linux.ReadonlyPaths = *c.ReadonlyPaths
	}
	if s.Linux.Seccomp, err = seccompProfile(c, s); err != nil {
		return nil, err
	}
	return s, nil
}

func workingDir(own, image string) string {
	for _, d := range []string{own, image} {
		if d != "" {
			if !strings.HasPrefix(d, "/") {
				d = "/" + d
			}
			return d
		}
	}
	return "/"
}

func environment(image, own []string, hostname string, tty bool, u User) []string {
	first := []string{engine.DefaultPath, "HOME=" + u.home()}
	if hostname != "" {
		first = append(first, "HOSTNAME="+hostname)
	}
	if tty {
		first = append(first, "TERM=xterm")
	}
	return engine.ProcessEnv(first, image, own)
}

func setNamespaces(s *specs.Spec, in *Input, m *Machine) {
	add := func(t specs.LinuxNamespaceType, path string) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: path})
	}
	add(specs.MountNamespace, "")
	if sb := in.Sandbox; sb != nil {
		if sb.NetNS != "" {
			add(specs.NetworkNamespace, sb.NetNS)
		}
		if sb.IPCNS != "" {
			add(specs.IPCNamespace, sb.IPCNS)
		}
		if sb.UTSNS != "" {
			add(specs.UTSNamespace, sb.UTSNS)
		}
		switch {
		case in.PIDNS != "":
			add(specs.PIDNamespace, in.PIDNS)
		case !sb.Spec.HostPID:
			add(specs.PIDNamespace, sb.PIDNS)
		}
	} else {
		add(specs.NetworkNamespace, "")
		add(specs.IPCNamespace, "")
		add(specs.UTSNamespace, "")
		add(specs.PIDNamespace, in.PIDNS)
		s.Hostname = in.Spec.Hostname
	}
	private := m.CgroupVersion == 2 && !in.Spec.Privileged
	if mode := in.Spec.CgroupNS; mode != "" {
		private = mode == "private"
	}
	if private {
		add(specs.CgroupNamespace, "")
	}
}

// resources converts limits; the runtime makes version 2's of them.
func resources(r *engine.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{Unified: r.Unified}
	cpu := &specs.LinuxCPU{Cpus: r.CPUSet, Mems: r.MemsSet}
	if r.CPUShares > 0 {
		cpu.Shares = ptr(uint64(r.CPUShares))
	}
	if r.CPUQuota != 0 {
		cpu.Quota = ptr(r.CPUQuota)
	}
	if r.CPUPeriod > 0 {
		cpu.Period = ptr(uint64(r.CPUPeriod))
	}
	if r.CPURealtimePeriod > 0 {
		cpu.RealtimePeriod = ptr(uint64(r.CPURealtimePeriod))
	}
	if r.CPURealtimeRuntime > 0 {
		cpu.RealtimeRuntime = ptr(r.CPURealtimeRuntime)
	}
	out.CPU = cpu
	mem := &specs.LinuxMemory{}
	set := func(to **int64, v int64) {
		if v != 0 {
			*to = ptr(v)
		}
	}
	set(&mem.Limit, r.Memory)
	set(&mem.Swap, r.MemorySwap)
	set(&mem.Reservation, r.Reservation)
	if r.Swappiness != nil && *r.Swappiness >= 0 {
		mem.Swappiness = ptr(uint64(*r.Swappiness))
	}
	if r.OOMKillDisable {
		mem.DisableOOMKiller = ptr(true)
	}
	out.Memory = mem
	if r.Pids != 0 {
		out.Pids = &specs.LinuxPids{Limit: ptr(r.Pids)}
	}
	for size, v := range r.HugePages {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: uint64(v)})
	}
	return out
}

// setBlock converts limits of block devices, which are given by their nodes.
func setBlock(to *specs.LinuxResources, b *engine.BlockLimits, m *Machine) error {
	if b.Weight == 0 && len(b.Weights)+len(b.ReadBytes)+len(b.WriteBytes)+len(b.ReadOps)+len(b.WriteOps) == 0 {
		return nil
	}
	out := &specs.LinuxBlockIO{}
	if b.Weight > 0 {
		out.Weight = ptr(b.Weight)
	}
	find := func(path string) (major, minor int64, err error) {
		d, err := m.Device(path)
		if err != nil || len(d) != 1 {
			return 0, 0, fmt.Errorf("%w: device %s: no such block device", engine.ErrInvalid, path)
		}
		return d[0].Major, d[0].Minor, nil
	}
	for _, l := range b.Weights {
		d := specs.LinuxWeightDevice{Weight: ptr(uint16(l.Value))}
		var err error
		if d.Major, d.Minor, err = find(l.Device); err != nil {
			return err
		}
		out.WeightDevice = append(out.WeightDevice, d)
	}
	for _, list := range []struct {
		from []engine.BlockLimit
		to   *[]specs.LinuxThrottleDevice
	}{
		{b.ReadBytes, &out.ThrottleReadBpsDevice}, {b.WriteBytes, &out.ThrottleWriteBpsDevice},
		{b.ReadOps, &out.ThrottleReadIOPSDevice}, {b.WriteOps, &out.ThrottleWriteIOPSDevice},
	} {
		for _, l := range list.from {
			d := specs.LinuxThrottleDevice{Rate: l.Value}
			var err error
			if d.Major, d.Minor, err = find(l.Device); err != nil {
				return err
			}
			*list.to = append(*list.to, d)
		}
	}
	to.BlockIO = out
	return nil
}

func ptr[T any](v T) *T { return &v }

// setOOMScoreAdj takes the nearest allowed value.
func setOOMScoreAdj(p *specs.Process, adj int, m *Machine) {
	if !m.Resource && adj < m.OOMScoreAdj {
		m.Lowered(fmt.Sprintf("oom_score_adj cannot be lowered without CAP_SYS_RESOURCE: %d is used for %d", m.OOMScoreAdj, adj))
		adj = m.OOMScoreAdj
	}
	p.OOMScoreAdj = &adj
}

func setRlimits(p *specs.Process, limits []engine.Rlimit, m *Machine) {
	for _, l := range limits {
		if hard, ok := m.HardLimit(l.Type); ok && !m.Resource && l.Hard > hard {
			m.Lowered(fmt.Sprintf("%s cannot be raised without CAP_SYS_RESOURCE: %d is used for %d", l.Type, hard, l.Hard))
			l.Hard, l.Soft = hard, min(l.Soft, hard)
		}
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard})
	}
}

// Process writes the runtime's configuration of a further process. container is
// the configuration the container was started with.
func Process(e *engine.ExecSpec, container *specs.Process, user User, m *Machine) *specs.Process {
	p := *container
	p.Terminal = e.TTY
	p.Args = e.Args
	p.Env = engine.ProcessEnv(container.Env, e.Env)
	if e.WorkingDir != "" {
		p.Cwd = e.WorkingDir
	}
	if e.User != "" {
		p.User = user.oci()
		p.Env = engine.ProcessEnv(container.Env, []string{"HOME=" + user.home()}, e.Env)
	}
	if e.TTY {
		p.Env = engine.ProcessEnv([]string{"TERM=xterm"}, p.Env)
	}
	if e.Privileged {
		p.Capabilities = capabilitySet(m.Capabilities)
		p.NoNewPrivileges = false
	}
	return &p
}
