package containers

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// checkRequest refuses what a client cannot ask for in any version of the API.
func checkRequest(req *container.CreateRequest) error {
	h := req.HostConfig
	if err := checkNetworkMode(req.Config, h); err != nil {
		return err
	}
	switch {
	case !h.Isolation.IsDefault():
		return route.Invalidf("invalid isolation (%s): linux only supports 'default'", h.Isolation)
	case h.IOMaximumBandwidth != 0:
		return route.Invalidf("invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case h.IOMaximumIOps != 0:
		return route.Invalidf("invalid option: QoS maximum IOPs configuration is not supported on linux")
	case (h.CPURealtimePeriod != 0 || h.CPURealtimeRuntime != 0) && !realtime():
		return route.Invalidf("kernel does not support CPU real-time scheduler")
	case h.CPURealtimePeriod != 0 && h.CPURealtimeRuntime > h.CPURealtimePeriod:
		return route.Invalidf("cpu real-time runtime cannot be higher than cpu real-time period")
	case h.CPUShares < 0:
		return route.Invalidf("invalid CPU shares (%d): value must be a positive integer", h.CPUShares)
	}
	return nil
}

// checkSettings refuses configurations that no container can have.
func (a *Area) checkSettings(c *container.Config, h *container.HostConfig) (warnings []string, err error) {
	if err := checkConfig(c); err != nil {
		return nil, err
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return nil, route.Invalidf("can't create 'AutoRemove' container with restart policy")
	}
	for i := range h.Mounts {
		if err := checkMount(&h.Mounts[i]); err != nil {
			return nil, err
		}
	}
	for _, check := range []func(*container.HostConfig) error{checkHosts, checkPorts, checkRestart, checkCapabilities, checkAnnotations} {
		if err := check(h); err != nil {
			return nil, err
		}
	}
	if len(c.Hostname) > maxHostname {
		return nil, route.Invalidf("hostname %q is too long (maximum %d bytes)", c.Hostname, maxHostname)
	}
	if warnings, err = checkResources(&h.Resources, false); err != nil {
		return nil, err
	}
	if err := checkModes(h); err != nil {
		return nil, err
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

// maxHostname is the longest name the kernel takes.
const maxHostname = 64

// checkConfig refuses what cannot be in a container's configuration, and cleans the
// working directory.
func checkConfig(c *container.Config) error {
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return route.Invalidf("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal != "" {
		if _, err := signalNumber(c.StopSignal); err != nil {
			return route.Invalid(err)
		}
	}
	for _, kv := range c.Env {
		if strings.HasPrefix(kv, "=") || kv == "" {
			return route.Invalidf("invalid environment variable: %s", kv)
		}
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

func checkRestart(h *container.HostConfig) error {
	return route.Invalid(container.ValidateRestartPolicy(h.RestartPolicy))
}

func checkAnnotations(h *container.HostConfig) error {
	if _, ok := h.Annotations[""]; ok {
		return route.Invalidf("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

func checkModes(h *container.HostConfig) error {
	switch {
	case !h.IpcMode.Valid():
		return route.Invalidf("invalid IPC mode: %s", h.IpcMode)
	case !h.PidMode.Valid():
		return route.Invalidf("invalid PID mode: %s", h.PidMode)
	case h.ShmSize < 0:
		return route.Invalidf("SHM size can not be less than 0")
	case !h.UTSMode.Valid():
		return route.Invalidf("invalid UTS mode: %s", h.UTSMode)
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return route.Invalidf("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	case !slices.Contains(knownRuntimes, h.Runtime):
		return route.Invalidf("unknown or invalid runtime name: %s", h.Runtime)
	}
	for p := range h.Tmpfs {
		if err := checkTarget(p); err != nil {
			return route.Invalid(err)
		}
	}
	if !h.CgroupnsMode.Valid() {
		return route.Invalidf("invalid cgroup namespace mode: %s", h.CgroupnsMode)
	}
	return nil
}

func checkNetworkMode(c *container.Config, h *container.HostConfig) error {
	m := h.NetworkMode
	shared := m.IsContainer() || m == "container"
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
		conflict(shared && len(h.Links) > 0, "container type network can't be used with links. This would result in undefined behavior"),
		conflict(shared && len(h.DNS) > 0, "dns and the network mode"),
		conflict(shared && len(h.ExtraHosts) > 0, "custom host-to-IP mapping and the network mode"),
		conflict(shared && (len(h.PortBindings) > 0 || h.PublishAllPorts), "port publishing and the container type network mode"),
		conflict(shared && len(c.ExposedPorts) > 0, "port exposing and the container type network mode"),
		conflict(h.UTSMode.IsHost() && c.Hostname != "", "hostname and the UTS mode"),
		conflict(m.IsHost() && len(h.Links) > 0, "host type networking can't be used with links. This would result in undefined behavior"),
	)
}

func checkHosts(h *container.HostConfig) error {
	for _, e := range h.ExtraHosts {
		name, ip, ok := strings.Cut(e, ":")
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

func checkPorts(h *container.HostConfig) error {
	for p, bindings := range h.PortBindings {
		if !p.IsValid() || p.Num() == 0 {
			return route.Invalidf("invalid port specification: %q", p.String())
		}
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

func checkCapabilities(h *container.HostConfig) error {
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
