package bundle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

// machine is one that may do everything but what CAP_SYS_RESOURCE allows.
func machine(said *[]string) *Machine {
	return &Machine{
		CgroupVersion: 2,
		Capabilities:  slices.DeleteFunc(slices.Clone(Capabilities), func(c string) bool { return c == "CAP_SYS_RESOURCE" }),
		HardLimit:     func(string) (uint64, bool) { return 1000, true },
		Device: func(p string) ([]specs.LinuxDevice, error) {
			if p != "/dev/fuse" {
				return nil, os.ErrNotExist
			}
			return []specs.LinuxDevice{{Path: p, Type: "c", Major: 10, Minor: 229}}, nil
		},
		HostDevices: func() []specs.LinuxDevice { return []specs.LinuxDevice{{Path: "/dev/vda", Type: "b", Major: 254}} },
		Lowered:     func(s string) { *said = append(*said, s) },
	}
}

func config(t *testing.T, spec engine.ContainerSpec, sb *engine.Sandbox) (*specs.Spec, []string) {
	t.Helper()
	var said []string
	s, err := Config(Input{Spec: &spec, Image: &imagespec.ImageConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}, Env: []string{"PATH=/p", "A=image"}, WorkingDir: "/w"}, Sandbox: sb, Root: "/r", Cgroup: "/g"}, machine(&said))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	return s, said
}

func TestDefaults(t *testing.T) {
	s, said := config(t, engine.ContainerSpec{Env: []string{"A=own"}, Hostname: "h"}, nil)
	if s.Version != "1.0.2" || s.Process.Cwd != "/w" || s.Hostname != "h" || len(said) != 0 {
		t.Errorf("%+v %v", s, said)
	}
	if got := strings.Join(s.Process.Env, " "); got != "PATH=/p HOME=/ HOSTNAME=h A=own" {
		t.Error(got)
	}
	if s.Linux.Seccomp == nil || len(s.Linux.MaskedPaths) == 0 || len(s.Process.Capabilities.Bounding) != 14 || len(s.Process.Capabilities.Inheritable) != 0 {
		t.Errorf("%+v", s.Process.Capabilities)
	}
	if d := s.Linux.Resources.Devices; d[0].Allow || d[0].Access != "rwm" {
		t.Errorf("%+v", d)
	}
	var ns []string
	for _, n := range s.Linux.Namespaces {
		ns = append(ns, string(n.Type))
	}
	if got := strings.Join(ns, " "); got != "mount network ipc uts pid cgroup" {
		t.Error(got)
	}
}

// TestCommand is the table of
// https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/.
func TestCommand(t *testing.T) {
	for _, c := range []struct {
		command, args []string
		want          string
	}{
		{nil, nil, "/e c"}, {[]string{"/x"}, nil, "/x"}, {nil, []string{"y"}, "/e y"}, {[]string{"/x"}, []string{"y"}, "/x y"},
	} {
		s, _ := config(t, engine.ContainerSpec{Command: c.command, Args: c.args}, nil)
		if got := strings.Join(s.Process.Args, " "); got != c.want {
			t.Errorf("%v %v: %s, want %s", c.command, c.args, got, c.want)
		}
	}
	if _, err := Config(Input{Spec: &engine.ContainerSpec{}, Image: &imagespec.ImageConfig{}}, machine(new([]string))); !errors.Is(err, engine.ErrInvalid) {
		t.Error(err)
	}
}

func TestSandboxNamespaces(t *testing.T) {
	for name, c := range map[string]struct {
		sb   engine.Sandbox
		want string
	}{
		"pod":    {engine.Sandbox{NetNS: "/n", IPCNS: "/i", UTSNS: "/u"}, "mount= network=/n ipc=/i uts=/u pid= cgroup="},
		"host":   {engine.Sandbox{Spec: engine.SandboxSpec{HostPID: true}}, "mount= cgroup="},
		"shared": {engine.Sandbox{NetNS: "/n", PIDNS: "/p"}, "mount= network=/n pid=/p cgroup="},
	} {
		s, _ := config(t, engine.ContainerSpec{Sandbox: "x"}, &c.sb)
		var got []string
		for _, n := range s.Linux.Namespaces {
			got = append(got, string(n.Type)+"="+n.Path)
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: %s", name, g)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for name, c := range map[string]struct {
		spec engine.ContainerSpec
		n    int
		has  string
	}{
		"drop all":      {engine.ContainerSpec{CapDrop: []string{"ALL"}}, 0, ""},
		"only one":      {engine.ContainerSpec{CapDrop: []string{"all"}, CapAdd: []string{"net_admin"}}, 1, "CAP_NET_ADMIN"},
		"add all":       {engine.ContainerSpec{CapAdd: []string{"ALL"}}, len(Capabilities) - 1, "CAP_BPF"},
		"all but one":   {engine.ContainerSpec{CapAdd: []string{"ALL"}, CapDrop: []string{"CAP_BPF"}}, len(Capabilities) - 2, "CAP_CHOWN"},
		"not to be had": {engine.ContainerSpec{CapAdd: []string{"SYS_RESOURCE"}}, 14, ""},
		"privileged":    {engine.ContainerSpec{Privileged: true, CapDrop: []string{"ALL"}}, len(Capabilities) - 1, "CAP_SYS_ADMIN"},
	} {
		s, _ := config(t, c.spec, nil)
		b := s.Process.Capabilities.Bounding
		if len(b) != c.n || (c.has != "" && !slices.Contains(b, c.has)) {
			t.Errorf("%s: %d %v", name, len(b), b)
		}
	}
}

func TestLimitsOfTheMachine(t *testing.T) {
	s, said := config(t, engine.ContainerSpec{OOMScoreAdj: -500, Rlimits: []engine.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 5000, Hard: 6000}, {Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}}, nil)
	if *s.Process.OOMScoreAdj != 0 || s.Process.Rlimits[0].Hard != 1000 || s.Process.Rlimits[0].Soft != 1000 || s.Process.Rlimits[1].Hard != 2 || len(said) != 2 {
		t.Errorf("%+v %v", s.Process, said)
	}
}

func TestMountsAndDevices(t *testing.T) {
	spec := engine.ContainerSpec{
		Mounts: []engine.Mount{
			{Source: "/h", Target: "/a/b/", ReadOnly: true, Propagation: "rslave"}, {Type: "tmpfs", Target: "/a", Options: []string{"size=1m"}},
			{Source: "/shm", Target: "/dev/shm"}, {Source: "/x", Target: "/rro", RecursiveReadOnly: true, Propagation: "private"},
		},
		Devices: []engine.Device{{Host: "/dev/fuse", Container: "/dev/f", Permissions: "r"}},
	}
	s, _ := config(t, spec, nil)
	var got []string
	for _, m := range s.Mounts[len(s.Mounts)-4:] {
		got = append(got, m.Destination+":"+m.Type+":"+strings.Join(m.Options, ","))
	}
	if g := strings.Join(got, " "); g != "/a:tmpfs:size=1m /rro:bind:rbind,rprivate,rro /a/b:bind:rbind,rslave,ro /dev/shm:bind:rbind,rprivate" {
		t.Error(g)
	}
	shm := 0
	for _, m := range s.Mounts {
		if m.Destination == "/dev/shm" {
			shm++
		}
	}
	if shm != 1 || s.Linux.RootfsPropagation != "rslave" {
		t.Errorf("%d %s", shm, s.Linux.RootfsPropagation)
	}
	if d := s.Linux.Devices; len(d) != 1 || d[0].Path != "/dev/f" {
		t.Errorf("%+v", d)
	}
	for _, bad := range []engine.ContainerSpec{
		{Mounts: []engine.Mount{{Source: "/a", Target: "/"}}}, {Mounts: []engine.Mount{{Source: "/a", Target: "/b", Propagation: "odd"}}},
		{Devices: []engine.Device{{Host: "/dev/none"}}}, {Seccomp: "/none"},
	} {
		if _, err := Config(Input{Spec: &bad, Image: &imagespec.ImageConfig{Cmd: []string{"x"}}}, machine(new([]string))); !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestSeccomp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := config(t, engine.ContainerSpec{Seccomp: file}, nil)
	if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActAllow {
		t.Errorf("%+v", s.Linux.Seccomp)
	}
	for _, c := range []engine.ContainerSpec{{Seccomp: "Unconfined"}, {Privileged: true}} {
		if s, _ := config(t, c, nil); s.Linux.Seccomp != nil {
			t.Errorf("%+v has a profile", c)
		}
	}
}

const passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"

func TestLookupUser(t *testing.T) {
	for name, want := range map[string]User{
		"": {Home: "/root"}, "app": {UID: 1000, GID: 1001, Groups: []uint32{2000, 5}, Home: "/home/app"}, "1000:3": {UID: 1000, GID: 3, Groups: []uint32{5}, Home: "/home/app"},
		"7": {UID: 7, Groups: []uint32{5}},
	} {
		groups := []int64{5}
		if name == "" {
			groups = nil
		}
		got, err := LookupUser(name, groups, []byte(passwd), []byte("extra:x:2000:app\n"))
		if err != nil || got.UID != want.UID || got.GID != want.GID || !slices.Equal(got.Groups, want.Groups) || got.home() != want.home() {
			t.Errorf("%q: %+v %v", name, got, err)
		}
	}
	for _, bad := range []string{"nobody", "1:nogroup", "99999999999", "-1"} {
		if _, err := LookupUser(bad, nil, []byte(passwd), nil); !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("app:extra", []byte(passwd), []byte("extra:x:2000:app\n"))
	f.Fuzz(func(t *testing.T, name string, passwd, group []byte) { LookupUser(name, nil, passwd, group) })
}
