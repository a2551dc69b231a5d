package containers

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"skiff.dev/skiff/engine"
)

// logName is the name of a container's log among its files.
const logName = "container.log"

// spec is what the engine runs for a container.
func (a *Area) spec(v *view, mounts []engine.Mount) (engine.ContainerSpec, error) {
	c, h := v.Config, v.HostConfig
	sec, err := securityOptions(h.SecurityOpt)
	if err != nil {
		return engine.ContainerSpec{}, err
	}
	s := engine.ContainerSpec{
		ID: v.ID, Sandbox: v.ID, PIDOf: h.PidMode.Container(), Labels: map[string]string{Mine: ""},
		Command: append([]string{v.Path}, v.Args...), Env: environment(c), WorkingDir: c.WorkingDir, User: c.User, GroupNames: h.GroupAdd,
		TTY: c.Tty, Stdin: c.OpenStdin, StdinOnce: c.StdinOnce, StopSignal: c.StopSignal,
		Mounts: mounts, Resources: resources(&h.Resources), CgroupParent: cgroupParent(h),
		Privileged: h.Privileged, ReadonlyRoot: h.ReadonlyRootfs, NoNewPrivileges: sec.noNewPrivileges, CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		OOMScoreAdj: h.OomScoreAdj, DeviceRules: h.DeviceCgroupRules, Annotations: h.Annotations, Umask: h.Umask,
		Init: h.Init != nil && *h.Init, CgroupNS: string(h.CgroupnsMode),
	}
	if s.Seccomp, err = seccompProfile(sec.seccomp); err != nil {
		return s, err
	}
	if sec.apparmor != "unconfined" && hasAppArmor() {
		s.AppArmor = sec.apparmor
	}
	if !h.Privileged {
		masked, readonly := slices.Clone(h.MaskedPaths), slices.Clone(h.ReadonlyPaths)
		s.MaskedPaths, s.ReadonlyPaths = &masked, &readonly
	} else {
		s.Unmasked = true
	}
	s.Sysctls = sysctls(h)
	for _, u := range h.Ulimits {
		s.Rlimits = append(s.Rlimits, engine.Rlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	for _, d := range h.Devices {
		s.Devices = append(s.Devices, engine.Device{Host: d.PathOnHost, Container: d.PathInContainer, Permissions: d.CgroupPermissions})
	}
	return s, a.setLog(&s, h)
}

// environment is Config.Env without the variables that are named without a value:
// they are not to be there.
func environment(c *container.Config) []string {
	out := []string{}
	if c.Hostname != "" {
		out = append(out, "HOSTNAME="+c.Hostname)
	}
	for _, kv := range c.Env {
		if strings.Contains(kv, "=") {
			out = append(out, kv)
		}
	}
	return out
}

// sysctls adds to what is asked for what lets users without privileges bind low
// ports and ping, in networks of the container's own.
func sysctls(h *container.HostConfig) map[string]string {
	out := map[string]string{}
	if !h.NetworkMode.IsHost() && !h.NetworkMode.IsContainer() {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for k, v := range h.Sysctls {
		out[k] = v
	}
	return out
}

func (a *Area) setLog(s *engine.ContainerSpec, h *container.HostConfig) (err error) {
	if h.LogConfig.Type == logNone {
		return nil
	}
	s.LogPath = a.logPath(s.ID)
	s.LogMaxBytes, s.LogMaxFiles, err = fileLimits(h.LogConfig.Config)
	return err
}

func (a *Area) logPath(id string) string { return filepath.Join(a.dir(id), logName) }

// resources are Docker's limits in the engine's terms.
func resources(r *container.Resources) engine.Resources {
	out := engine.Resources{
		CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod, CPUSet: r.CpusetCpus, MemsSet: r.CpusetMems,
		Memory: r.Memory, MemorySwap: r.MemorySwap, Reservation: r.MemoryReservation,
		CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtimeRuntime, Swappiness: r.MemorySwappiness,
		OOMKillDisable: r.OomKillDisable != nil && *r.OomKillDisable,
	}
	if r.NanoCPUs > 0 {
		out.CPUPeriod = 100_000
		out.CPUQuota = r.NanoCPUs * out.CPUPeriod / 1e9
	}
	if r.PidsLimit != nil {
		out.Pids = *r.PidsLimit
	}
	b := &out.Block
	b.Weight = r.BlkioWeight
	for _, w := range r.BlkioWeightDevice {
		b.Weights = append(b.Weights, engine.BlockLimit{Device: w.Path, Value: uint64(w.Weight)})
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]engine.BlockLimit
	}{
		{r.BlkioDeviceReadBps, &b.ReadBytes}, {r.BlkioDeviceWriteBps, &b.WriteBytes},
		{r.BlkioDeviceReadIOps, &b.ReadOps}, {r.BlkioDeviceWriteIOps, &b.WriteOps},
	} {
		for _, d := range t.from {
			*t.to = append(*t.to, engine.BlockLimit{Device: d.Path, Value: d.Rate})
		}
	}
	return out
}
