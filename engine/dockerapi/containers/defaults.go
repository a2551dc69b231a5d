package containers

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// DockerConfig is what Docker adds to an image's configuration.
type DockerConfig struct {
	Healthcheck *container.HealthConfig `json:",omitempty"`
	OnBuild     []string                `json:",omitempty"`
	Shell       []string                `json:",omitempty"`
}

// DefaultShmSize of /dev/shm.
const DefaultShmSize = 64 << 20

func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// fillHost puts Docker's defaults into what was left open.
func (a *Area) fillHost(h *container.HostConfig) {
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = network.NetworkBridge
	}
	h.IpcMode = cmp.Or(h.IpcMode, container.IPCModePrivate)
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = container.CgroupnsModeHost
		if a.o.CgroupVersion == 2 {
			h.CgroupnsMode = container.CgroupnsModePrivate
		}
	}
	if h.PidsLimit != nil && *h.PidsLimit <= 0 {
		h.PidsLimit = nil
	}
	if h.OomKillDisable == nil {
		h.OomKillDisable = new(bool)
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	h.RestartPolicy.Name = cmp.Or(h.RestartPolicy.Name, container.RestartPolicyDisabled)
	h.Runtime = cmp.Or(h.Runtime, a.o.Runtime)
	h.ShmSize = cmp.Or(h.ShmSize, DefaultShmSize)
	h.LogConfig.Type = cmp.Or(h.LogConfig.Type, logFile)
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	if h.PortBindings == nil {
		h.PortBindings = network.PortMap{}
	}
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = maskedPaths()
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = readonlyPaths()
		}
	}
	labelled := slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return o == "label" || strings.HasPrefix(o, "label=") })
	if (h.Privileged || h.PidMode.IsHost() || h.IpcMode.IsHost()) && !labelled {
		h.SecurityOpt = append(h.SecurityOpt, "label=disable")
	}
}

// merge puts the image's configuration below the user's.
func merge(c *container.Config, img *Image) {
	if img == nil {
		return
	}
	i := &img.Config.Config
	if c.User == "" {
		c.User = i.User
	}
	for p := range i.ExposedPorts {
		port, err := network.ParsePort(p)
		if err != nil {
			continue // an image's nonsense is no error of the user's
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	have := map[string]bool{}
	for _, kv := range c.Env {
		k, _, _ := strings.Cut(kv, "=")
		have[k] = true
	}
	for _, kv := range i.Env {
		if k, _, _ := strings.Cut(kv, "="); !have[k] {
			c.Env = append(c.Env, kv)
		}
	}
	labels := maps.Clone(i.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(i.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(i.Entrypoint)
		}
	}
	c.Healthcheck = mergeHealth(c.Healthcheck, img.Docker.Healthcheck)
	if c.WorkingDir == "" {
		c.WorkingDir = i.WorkingDir
	}
	for v := range i.Volumes {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[v] = struct{}{}
	}
	if c.StopSignal == "" {
		c.StopSignal = i.StopSignal
	}
	if len(c.Shell) == 0 {
		c.Shell = img.Docker.Shell
	}
}

func mergeHealth(own, image *container.HealthConfig) *container.HealthConfig {
	switch {
	case image == nil:
		return own
	case own == nil:
		h := *image
		return &h
	}
	h := *own
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	h.Interval = cmp.Or(h.Interval, image.Interval)
	h.Timeout = cmp.Or(h.Timeout, image.Timeout)
	h.StartPeriod = cmp.Or(h.StartPeriod, image.StartPeriod)
	h.StartInterval = cmp.Or(h.StartInterval, image.StartInterval)
	h.Retries = cmp.Or(h.Retries, image.Retries)
	return &h
}

// command is what the container executes.
func command(c *container.Config) (path string, args []string) {
	entry := c.Entrypoint
	if len(entry) == 1 && entry[0] == "" {
		entry = nil
	}
	all := append(slices.Clone(entry), c.Cmd...)
	if len(all) == 0 {
		return "", []string{}
	}
	return all[0], all[1:]
}
