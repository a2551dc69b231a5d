package system

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// unknown is the commit of what has none.
const unknown = "N/A"

func (a *Area) info(w http.ResponseWriter, r *route.Request) error {
	info, err := a.collect(r)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, forVersion(r, info))
}

// collect is all that the newest version of the API tells.
func (a *Area) collect(r *route.Request) (*system.Info, error) {
	m := machine{"/"}
	name, version := m.system()
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	l := m.limits(a.o.CgroupVersion)
	facts := a.runtime()
	info := &system.Info{
		ID: a.id, Name: host, SystemTime: time.Now().Format(time.RFC3339Nano), DockerRootDir: a.o.Root,
		ServerVersion: a.o.Version, Labels: []string{},
		KernelVersion: m.kernel(), OperatingSystem: name, OSVersion: version, OSType: runtime.GOOS,
		Architecture: architecture(), NCPU: runtime.NumCPU(), MemTotal: m.memory(), IPv4Forwarding: m.forwards(),
		Driver: "overlayfs", DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins:       system.PluginsInfo{Volume: []string{"local"}, Network: a.o.NetworkDrivers, Log: a.o.LogDrivers},
		LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: fmt.Sprint(a.o.CgroupVersion),
		MemoryLimit: l.memory, SwapLimit: l.swap, OomKillDisable: l.oomKill, CPUShares: l.shares,
		CPUCfsPeriod: l.quota, CPUCfsQuota: l.quota, CPUSet: l.cpuset, PidsLimit: l.pids,
		NFd: m.descriptors(), NGoroutines: runtime.NumGoroutine(), NEventsListener: a.o.Events.Subscribers(),
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: a.registries(),
		HTTPProxy: masked("HTTP_PROXY", "http_proxy"), HTTPSProxy: masked("HTTPS_PROXY", "https_proxy"),
		NoProxy:  first("NO_PROXY", "no_proxy"),
		Runtimes: map[string]system.RuntimeWithStatus{a.o.Runtime: {Runtime: system.Runtime{Path: a.o.RuntimePath}, Status: facts.status}},
		Swarm:    swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive}, DefaultRuntime: a.o.Runtime,
		InitBinary: initProgram, RuncCommit: system.Commit{ID: facts.commit}, ContainerdCommit: system.Commit{ID: unknown},
		InitCommit: system.Commit{ID: facts.init}, SecurityOptions: a.security(m), CDISpecDirs: []string{},
		FirewallBackend: &system.FirewallInfo{Driver: a.o.Firewall},
		Containerd:      &system.ContainerdInfo{},
		Warnings:        a.warnings(m, l),
	}
	if a.o.Containers != nil {
		n, err := a.o.Containers.Counts(r.Context())
		if err != nil {
			return nil, err
		}
		info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = n.Running, n.Paused, n.Stopped
		info.Containers = n.Running + n.Paused + n.Stopped
	}
	if a.o.Images != nil {
		if info.Images, err = a.o.Images.Count(r.Context()); err != nil {
			return nil, err
		}
	}
	return info, nil
}

func (a *Area) registries() *registry.ServiceConfig {
	if a.o.Registries == nil {
		return &registry.ServiceConfig{}
	}
	return a.o.Registries.Config()
}

func (a *Area) security(m machine) []string {
	var out []string
	if m.apparmor() {
		out = append(out, "name=apparmor")
	}
	out = append(out, "name=seccomp,profile=builtin")
	if a.o.CgroupVersion == 2 {
		out = append(out, "name=cgroupns")
	}
	return out
}

func (a *Area) warnings(m machine, l limits) []string {
	var out []string
	for _, w := range []struct {
		is   bool
		text string
	}{
		{!l.memory, "No memory limit support"},
		{!l.swap, "No swap limit support"},
		{!l.oomKill && a.o.CgroupVersion == 1, "No oom kill disable support"},
		{!l.quota, "No cpu cfs quota support"},
		{!l.quota, "No cpu cfs period support"},
		{!l.shares, "No cpu shares support"},
		{!l.cpuset, "No cpuset support"},
		{!l.throttle && a.o.CgroupVersion == 2, "No io.max support"},
		{!l.throttle && a.o.CgroupVersion == 1, "No blkio throttle.read_bps_device support"},
		{!m.forwards(), "IPv4 forwarding is disabled"},
	} {
		if w.is {
			out = append(out, "WARNING: "+w.text)
		}
	}
	return out
}

func first(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}

// masked is a proxy's address without the credentials in it.
func masked(names ...string) string {
	v := first(names...)
	u, err := url.Parse(v)
	if err != nil || u.User == nil {
		return v
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}

// commit is a commit as old versions tell it, with the one that they expect.
type commit struct{ ID, Expected string }

func expected(c system.Commit) *commit { return &commit{c.ID, c.ID} }

// oldRegistries is what old versions tell of registries.
type oldRegistries struct {
	*registry.ServiceConfig
	AllowNondistributableArtifactsCIDRs     []string
	AllowNondistributableArtifactsHostnames []string
}

// oldInfo has members that the newest version has no more, or with another content;
// they hide those of the embedded one where they are set.
type oldInfo struct {
	*system.Info
	BridgeNfIptables  *bool `json:",omitempty"`
	BridgeNfIp6tables *bool `json:",omitempty"` //nolint:staticcheck // as the API spells it
	ContainerdCommit  any   `json:"ContainerdCommit"`
	RuncCommit        any   `json:"RuncCommit"`
	InitCommit        any   `json:"InitCommit"`
	RegistryConfig    any   `json:"RegistryConfig"`
}

// forVersion is the answer as the request's version of the API has it. It may
// change info.
func forVersion(r *route.Request, info *system.Info) any {
	if r.Before("1.44") {
		for name, rt := range info.Runtimes {
			info.Runtimes[name] = system.RuntimeWithStatus{Runtime: rt.Runtime}
		}
	}
	if r.Before("1.46") {
		info.Containerd = nil
	}
	if r.Before("1.49") {
		info.FirewallBackend = nil
	}
	if r.Since("1.50") {
		return info
	}
	no := false
	out := &oldInfo{
		Info: info, BridgeNfIptables: &no, BridgeNfIp6tables: &no,
		ContainerdCommit: info.ContainerdCommit, RuncCommit: info.RuncCommit, InitCommit: info.InitCommit, RegistryConfig: info.RegistryConfig,
	}
	if r.Before("1.49") {
		out.ContainerdCommit, out.RuncCommit, out.InitCommit = expected(info.ContainerdCommit), expected(info.RuncCommit), expected(info.InitCommit)
	}
	if r.Before("1.47") {
		out.RegistryConfig = &oldRegistries{ServiceConfig: info.RegistryConfig}
	}
	return out
}
