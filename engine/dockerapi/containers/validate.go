package containers

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// checkConfig refuses what cannot be in a container's configuration.
func (a *Area) checkConfig(c *container.Config) error {
	if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
		return route.Invalidf("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	for _, kv := range c.Env {
		if strings.HasPrefix(kv, "=") || kv == "" {
			return route.Invalidf("invalid environment variable: %s", kv)
		}
	}
	if c.StopSignal != "" {
		if _, err := signalNumber(c.StopSignal); err != nil {
			return route.Invalid(err)
		}
	}
	if c.StopTimeout != nil && *c.StopTimeout < -1 {
		return route.Invalidf("invalid stop timeout: %d", *c.StopTimeout)
	}
	return checkHealth(c.Healthcheck)
}

func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < container.MinimumDuration {
			return route.Invalidf("%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return route.Invalidf("Retries in Healthcheck cannot be negative")
	}
	return nil
}

// signalNumber reads a signal's name or number as Docker does.
func signalNumber(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n == 0 {
			return 0, fmt.Errorf("invalid signal: %s", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return n, nil
	}
	for base, at := range map[string]int{"RTMIN": 34, "RTMAX": 64} {
		if rest, ok := strings.CutPrefix(name, base); ok {
			off, err := strconv.Atoi(cmp.Or(rest, "0"))
			if n := at + off; err == nil && n >= 34 && n <= 64 {
				return unix.Signal(n), nil
			}
		}
	}
	return 0, fmt.Errorf("invalid signal: %s", s)
}

// known runtimes by the names that Docker has for what we run.
var knownRuntimes = []string{"", "runc", "crun", "io.containerd.runc.v2"}

// checkHost refuses what the host configuration of a container cannot be.
func (a *Area) checkHost(c *container.Config, h *container.HostConfig) (warnings []string, err error) {
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return nil, route.Invalid(err)
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return nil, route.Invalidf("can't create 'AutoRemove' container with restart policy")
	}
	for _, check := range []func(*container.Config, *container.HostConfig) error{
		checkModes, checkNetworkMode, checkHosts, checkPorts, checkCapabilities, checkLogs, checkSecurity, checkMisc,
	} {
		if err := check(c, h); err != nil {
			return nil, err
		}
	}
	if err := checkMounts(c, h); err != nil {
		return nil, err
	}
	warnings, err = checkResources(&h.Resources, false)
	if err != nil {
		return nil, err
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

func checkModes(_ *container.Config, h *container.HostConfig) error {
	switch {
	case !h.IpcMode.Valid() || (h.IpcMode.IsContainer() && h.IpcMode.Container() == ""):
		return route.Invalidf("invalid IPC mode: %s", h.IpcMode)
	case !h.PidMode.Valid():
		return route.Invalidf("invalid PID mode: %s", h.PidMode)
	case !h.UTSMode.Valid():
		return route.Invalidf("invalid UTS mode: %s", h.UTSMode)
	case !h.CgroupnsMode.Valid():
		return route.Invalidf("invalid cgroup namespace mode: %s", h.CgroupnsMode)
	case !h.Isolation.IsDefault():
		return route.Invalidf("invalid isolation (%s): linux only supports 'default'", h.Isolation)
	case !slices.Contains(knownRuntimes, h.Runtime):
		return route.Invalidf("unknown or invalid runtime name: %s", h.Runtime)
	}
	return nil
}

func checkNetworkMode(c *container.Config, h *container.HostConfig) error {
	m := h.NetworkMode
	shared := m.IsContainer()
	conflict := func(on bool, text string) error {
		if on {
			return route.Invalidf("conflicting options: %s", text)
		}
		return nil
	}
	if shared && m.ConnectedContainer() == "" {
		return route.Invalidf("invalid network mode: invalid container format container:<name|id>")
	}
	return cmp.Or(
		conflict(shared && c.Hostname != "", "hostname and the network mode"),
		conflict(h.UTSMode.IsHost() && c.Hostname != "", "hostname and the UTS mode"),
		conflict(shared && len(h.Links) > 0, "container type network can't be used with links. This would result in undefined behavior"),
		conflict(m.IsHost() && len(h.Links) > 0, "host type networking can't be used with links. This would result in undefined behavior"),
		conflict(shared && len(h.DNS) > 0, "dns and the network mode"),
		conflict(shared && len(h.ExtraHosts) > 0, "custom host-to-IP mapping and the network mode"),
		conflict(shared && (len(h.PortBindings) > 0 || h.PublishAllPorts), "port publishing and the container type network mode"),
		conflict(shared && len(c.ExposedPorts) > 0, "port exposing and the container type network mode"),
	)
}

func checkHosts(_ *container.Config, h *container.HostConfig) error {
	for _, e := range h.ExtraHosts {
		name, ip, ok := splitHost(e)
		if !ok || name == "" {
			return route.Invalidf("bad format for add-host: %q", e)
		}
		if _, err := netip.ParseAddr(ip); err != nil && ip != hostGateway {
			return route.Invalidf("invalid IP address in add-host: %q", ip)
		}
	}
	return nil
}

// hostGateway stands for the host's address as the container sees it.
const hostGateway = "host-gateway"

// splitHost reads "name:ip" and "name=ip", where an IPv6 address may be in brackets.
func splitHost(e string) (name, ip string, ok bool) {
	name, ip, ok = strings.Cut(e, ":")
	if i := strings.IndexAny(e, ":="); i >= 0 {
		name, ip = e[:i], e[i+1:]
	}
	if strings.HasPrefix(ip, "[") && strings.HasSuffix(ip, "]") {
		ip = ip[1 : len(ip)-1]
	}
	return name, ip, ok || ip != ""
}

func checkPorts(_ *container.Config, h *container.HostConfig) error {
	for _, bindings := range h.PortBindings {
		for _, b := range bindings {
			if _, _, err := hostPorts(b.HostPort); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostPorts reads "", "80" and "80-90".
func hostPorts(s string) (from, to uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	x, err1 := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || y < x {
		return 0, 0, route.Invalidf("invalid port specification: %q", s)
	}
	return uint16(x), uint16(y), nil
}

func checkCapabilities(_ *container.Config, h *container.HostConfig) error {
	for _, l := range []struct {
		name string
		list []string
	}{{"CapAdd", h.CapAdd}, {"CapDrop", h.CapDrop}} {
		for _, c := range l.list {
			name := "CAP_" + strings.TrimPrefix(strings.ToUpper(c), "CAP_")
			if name != "CAP_ALL" && !slices.Contains(bundle.Capabilities, name) {
				return route.Invalidf("invalid %s: unknown capability: %q", l.name, name)
			}
		}
	}
	return nil
}

// logOptions of the drivers that there are.
var logOptions = map[string][]string{
	"json-file": {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"},
	"none":      {},
}

func checkLogs(_ *container.Config, h *container.HostConfig) error {
	kind := cmp.Or(h.LogConfig.Type, "json-file")
	known, ok := logOptions[kind]
	if !ok {
		return route.Invalidf("error looking up logging plugin %s: plugin %q not found", kind, kind)
	}
	if kind == "none" {
		return nil
	}
	for k := range h.LogConfig.Config {
		if !slices.Contains(known, k) {
			return route.Invalidf("unknown log opt '%s' for %s log driver", k, kind)
		}
	}
	return nil
}

// checkSecurity: Docker answers what it does not know here as an internal error.
func checkSecurity(_ *container.Config, h *container.HostConfig) error {
	_, err := securityOptions(h.SecurityOpt)
	return err
}

// security is what SecurityOpt says.
type security struct {
	seccomp, apparmor string
	noNewPrivileges   bool
	systemPaths       bool // unconfined
	writableCgroups   bool
}

func securityOptions(opts []string) (security, error) {
	var s security
	for _, o := range opts {
		switch o {
		case "no-new-privileges":
			s.noNewPrivileges = true
			continue
		case "disable":
			continue
		}
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			if key, value, ok = strings.Cut(o, ":"); !ok {
				return s, route.Internalf("invalid --security-opt 1: %q", o)
			}
		}
		switch key {
		case "label":
		case "apparmor":
			s.apparmor = value
		case "seccomp":
			s.seccomp = value
		case "systempaths":
			s.systemPaths = value == "unconfined"
		case "no-new-privileges", "writable-cgroups":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return s, route.Internalf("invalid --security-opt 2: %q", o)
			}
			if key == "writable-cgroups" {
				s.writableCgroups = on
			} else {
				s.noNewPrivileges = on
			}
		default:
			return s, route.Internalf("invalid --security-opt 2: %q", o)
		}
	}
	return s, nil
}

func checkMisc(_ *container.Config, h *container.HostConfig) error {
	switch {
	case h.ShmSize < 0:
		return route.Invalidf("SHM size can not be less than 0")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return route.Invalidf("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	for _, o := range h.DNSOptions {
		if strings.ContainsAny(o, "\n\r") {
			return route.Invalidf("invalid DNS option: %q", o)
		}
	}
	return nil
}

const mb6 = 6 << 20

// checkResources checks limits; of an update what is zero is not to be changed.
func checkResources(r *container.Resources, update bool) (warnings []string, err error) {
	cpus := runtime.NumCPU()
	switch {
	case r.Memory > 0 && r.Memory < mb6:
		err = route.Invalidf("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		err = route.Invalidf("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0 && !update:
		err = route.Invalidf("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		err = route.Invalidf("Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation > 0 && r.MemoryReservation < mb6:
		err = route.Invalidf("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		err = route.Invalidf("Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		err = route.Invalidf("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		err = route.Invalidf("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9:
		err = route.Invalidf("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1e6):
		err = route.Invalidf("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		err = route.Invalidf("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPUShares < 0:
		err = route.Invalidf("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		err = route.Invalidf("Range of blkio weight is from 10 to 1000")
	case r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0:
		err = route.Invalidf("invalid QoS settings: linux does not support Maximum IO Bandwidth or IOps")
	}
	if err == nil {
		err = cmp.Or(checkSet("Cpus", "cpuset cpus", r.CpusetCpus, cpus), checkSet("memory nodes", "cpuset mems", r.CpusetMems, 1<<10))
	}
	if err != nil {
		return nil, err
	}
	return warnings, nil
}

// checkSet checks a list of processors or memory nodes such as "0-2,4".
func checkSet(_, name, s string, available int) error {
	if s == "" {
		return nil
	}
	for _, part := range strings.Split(s, ",") {
		a, b, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			b = a
		}
		x, err1 := strconv.Atoi(a)
		y, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || y < x || x < 0 {
			return route.Invalidf("Invalid value %s for %s", s, name)
		}
		if y >= available {
			return route.Invalidf("Requested CPUs are not available - requested %s, available: 0-%d", s, available-1)
		}
	}
	return nil
}

// logSize is an option's number of bytes.
func logSize(s string) (int64, error) {
	n, err := units.FromHumanSize(s)
	if err != nil {
		return 0, fmt.Errorf("invalid log option max-size: %w", err)
	}
	return n, nil
}
