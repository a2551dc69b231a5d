package spec

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

func hostConfig(p *types.Project, s types.ServiceConfig, c Container) (*container.HostConfig, error) {
	h := &container.HostConfig{
		AutoRemove:  c.AutoRemove,
		Annotations: s.Annotations,
		CapAdd:      s.CapAdd, CapDrop: s.CapDrop,
		CgroupnsMode: container.CgroupnsMode(s.Cgroup),
		DNSOptions:   s.DNSOpts, DNSSearch: s.DNSSearch,
		ExtraHosts: s.ExtraHosts.AsList(":"), GroupAdd: s.GroupAdd,
		OomScoreAdj: int(s.OomScoreAdj), Privileged: s.Privileged,
		ReadonlyRootfs: s.ReadOnly, StorageOpt: s.StorageOpt,
		UTSMode: container.UTSMode(s.Uts), UsernsMode: container.UsernsMode(s.UserNSMode),
		ShmSize: int64(s.ShmSize), Sysctls: s.Sysctls, Runtime: s.Runtime, Umask: s.Umask,
		Isolation: container.Isolation(s.Isolation), Init: s.Init,
		LogConfig:    logConfig(s),
		Resources:    resources(s),
		VolumeDriver: s.VolumeDriver,
	}
	for _, text := range s.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("dns: %w", err)
		}
		h.DNS = append(h.DNS, a)
	}
	var err error
	if h.NetworkMode, err = networkMode(p, s, c); err != nil {
		return nil, err
	}
	if h.RestartPolicy, err = restartPolicy(s); err != nil {
		return nil, err
	}
	ipc, err := shared(s.Ipc, c)
	if err != nil {
		return nil, err
	}
	pid, err := shared(s.Pid, c)
	if err != nil {
		return nil, err
	}
	h.IpcMode, h.PidMode = container.IpcMode(ipc), container.PidMode(pid)
	if h.SecurityOpt, h.MaskedPaths, h.ReadonlyPaths, err = securityOpt(p, s.SecurityOpt); err != nil {
		return nil, err
	}
	if h.VolumesFrom, err = volumesFrom(s, c); err != nil {
		return nil, err
	}
	h.Tmpfs = map[string]string{}
	for _, t := range s.Tmpfs {
		path, options, _ := strings.Cut(t, ":")
		h.Tmpfs[path] = options
	}
	h.Binds, h.Mounts, err = mounts(p, s, c)
	return h, err
}

func logConfig(s types.ServiceConfig) container.LogConfig {
	l := container.LogConfig{Type: s.LogDriver, Config: s.LogOpt}
	if s.Logging != nil {
		l = container.LogConfig{Type: s.Logging.Driver, Config: s.Logging.Options}
	}
	return l
}

func volumesFrom(s types.ServiceConfig, c Container) ([]string, error) {
	var out []string
	for _, v := range s.VolumesFrom {
		if of, ok := strings.CutPrefix(v, types.ContainerPrefix); ok {
			out = append(out, of)
			continue
		}
		name, mode, given := strings.Cut(v, ":")
		id, _, err := c.Resolve(name)
		if err != nil {
			return nil, fmt.Errorf("volumes_from %q: %w", v, err)
		}
		if given {
			id += ":" + mode
		}
		out = append(out, id)
	}
	return out, nil
}

func resources(s types.ServiceConfig) container.Resources {
	r := container.Resources{
		CPUShares: s.CPUShares, Memory: int64(s.MemLimit), NanoCPUs: int64(float64(s.CPUS) * 1e9),
		CgroupParent: s.CgroupParent, CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota,
		CPURealtimePeriod: s.CPURTPeriod, CPURealtimeRuntime: s.CPURTRuntime,
		CpusetCpus: s.CPUSet, DeviceCgroupRules: s.DeviceCgroupRules,
		MemoryReservation: int64(s.MemReservation), MemorySwap: int64(s.MemSwapLimit),
		CPUCount: s.CPUCount, CPUPercent: int64(s.CPUPercent),
	}
	if s.MemSwappiness != 0 {
		v := int64(s.MemSwappiness)
		r.MemorySwappiness = &v
	}
	if s.OomKillDisable {
		r.OomKillDisable = &s.OomKillDisable
	}
	if s.PidsLimit != 0 {
		r.PidsLimit = &s.PidsLimit
	}
	for _, d := range s.Devices {
		if d.Source == d.Target && strings.Contains(d.Source, "=") {
			r.DeviceRequests = append(r.DeviceRequests, container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{d.Source}})
			continue
		}
		r.Devices = append(r.Devices, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions})
	}
	for _, g := range s.Gpus {
		r.DeviceRequests = append(r.DeviceRequests, deviceRequest(g, "gpu"))
	}
	for _, name := range sortedKeys(s.Ulimits) {
		u := s.Ulimits[name]
		soft, hard := int64(u.Soft), int64(u.Hard)
		if u.Single != 0 {
			soft, hard = int64(u.Single), int64(u.Single)
		}
		r.Ulimits = append(r.Ulimits, &units.Ulimit{Name: name, Soft: soft, Hard: hard})
	}
	if s.Deploy != nil {
		deployed(&r, s.Deploy.Resources)
	}
	blkio(&r, s.BlkioConfig)
	return r
}

func deployed(r *container.Resources, d types.Resources) {
	if l := d.Limits; l != nil {
		if l.NanoCPUs != 0 {
			r.NanoCPUs = int64(float64(l.NanoCPUs) * 1e9)
		}
		if l.MemoryBytes != 0 {
			r.Memory = int64(l.MemoryBytes)
		}
		if l.Pids != 0 {
			r.PidsLimit = &l.Pids
		}
	}
	if v := d.Reservations; v != nil {
		if v.MemoryBytes != 0 {
			r.MemoryReservation = int64(v.MemoryBytes)
		}
		for _, dev := range v.Devices {
			r.DeviceRequests = append(r.DeviceRequests, deviceRequest(dev))
		}
	}
}

func deviceRequest(d types.DeviceRequest, more ...string) container.DeviceRequest {
	count := int(d.Count)
	if count == 0 && len(d.IDs) == 0 {
		count = -1
	}
	return container.DeviceRequest{
		Driver: d.Driver, Count: count, DeviceIDs: d.IDs, Options: d.Options,
		Capabilities: [][]string{append(append([]string{}, d.Capabilities...), more...)},
	}
}

func blkio(r *container.Resources, b *types.BlkioConfig) {
	if b == nil {
		return
	}
	r.BlkioWeight = b.Weight
	for _, w := range b.WeightDevice {
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, &blkiodev.WeightDevice{Path: w.Path, Weight: w.Weight})
	}
	r.BlkioDeviceReadBps = throttles(b.DeviceReadBps)
	r.BlkioDeviceReadIOps = throttles(b.DeviceReadIOps)
	r.BlkioDeviceWriteBps = throttles(b.DeviceWriteBps)
	r.BlkioDeviceWriteIOps = throttles(b.DeviceWriteIOps)
}

func throttles(in []types.ThrottleDevice) []*blkiodev.ThrottleDevice {
	var out []*blkiodev.ThrottleDevice
	for _, t := range in {
		out = append(out, &blkiodev.ThrottleDevice{Path: t.Path, Rate: uint64(t.Rate)})
	}
	return out
}
