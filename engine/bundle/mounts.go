package bundle

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

// setMounts lists the mounts that every container has, over which its own win.
func setMounts(s *specs.Spec, in *Input, m *Machine) error {
	c := in.Spec
	sysMode, cgroupMode := "ro", "ro"
	if c.Privileged {
		sysMode, cgroupMode = "rw", "rw"
	}
	std := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sysMode}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", cgroupMode}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	}
	switch {
	case in.Sandbox != nil && in.Sandbox.Spec.NoSHM:
		std = slices.DeleteFunc(std, func(d specs.Mount) bool { return d.Destination == "/dev/shm" || d.Destination == "/dev/mqueue" })
	case in.SHM != "":
		std[len(std)-1] = specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.SHM, Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}}
	}
	own := slices.Clone(c.Mounts)
	if c.Init && in.Init != "" {
		own = append(own, engine.Mount{Source: in.Init, Target: initPath, ReadOnly: true})
	}
	// A mount over a directory must come before the mounts in it.
	sort.SliceStable(own, func(i, j int) bool {
		return strings.Count(path.Clean(own[i].Target), "/") < strings.Count(path.Clean(own[j].Target), "/")
	})
	for _, mt := range own {
		o, err := ociMount(&mt)
		if err != nil {
			return err
		}
		switch mt.Propagation {
		case "rshared", "shared":
			s.Linux.RootfsPropagation = "rshared"
		case "rslave", "slave":
			if s.Linux.RootfsPropagation == "" {
				s.Linux.RootfsPropagation = "rslave"
			}
		}
		std = slices.DeleteFunc(std, func(d specs.Mount) bool { return d.Destination == o.Destination })
		s.Mounts = append(s.Mounts, o)
	}
	s.Mounts = append(std, s.Mounts...)
	return nil
}

func ociMount(mt *engine.Mount) (specs.Mount, error) {
	if !path.IsAbs(mt.Target) || path.Clean(mt.Target) == "/" {
		return specs.Mount{}, fmt.Errorf("%w: mount target %q", engine.ErrInvalid, mt.Target)
	}
	o := specs.Mount{Destination: path.Clean(mt.Target), Type: mt.Type, Source: mt.Source, Options: slices.Clone(mt.Options)}
	if mt.Type == "" || mt.Type == "bind" {
		o.Type = "bind"
		if !path.IsAbs(mt.Source) {
			return specs.Mount{}, fmt.Errorf("%w: mount source %q", engine.ErrInvalid, mt.Source)
		}
		kind := "rbind"
		if mt.NonRecursive {
			kind = "bind"
		}
		o.Options = append([]string{kind}, o.Options...)
	}
	switch mt.Propagation {
	case "":
		if o.Type == "bind" {
			o.Options = append(o.Options, "rprivate")
		}
	case "private":
		o.Options = append(o.Options, "rprivate")
	case "rslave", "rshared", "slave", "shared", "rprivate":
		o.Options = append(o.Options, mt.Propagation)
	default:
		return specs.Mount{}, fmt.Errorf("%w: mount propagation %q", engine.ErrInvalid, mt.Propagation)
	}
	switch {
	case mt.RecursiveReadOnly:
		o.Options = append(o.Options, "rro")
	case mt.ReadOnly:
		o.Options = append(o.Options, "ro")
	}
	if o.Source == "" {
		o.Source = o.Type
	}
	return o, nil
}

// setDevices gives the container its devices and what it may do with them. The
// runtime adds /dev/null and its like itself.
func setDevices(s *specs.Spec, c *engine.ContainerSpec, m *Machine) error {
	if c.Privileged {
		s.Linux.Devices = m.HostDevices()
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	allow := func(t string, major, minor int64, access string) {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: t, Access: access}
		if major >= 0 {
			r.Major = &major
		}
		if minor >= 0 {
			r.Minor = &minor
		}
		rules = append(rules, r)
	}
	// Making nodes is allowed, using them is not: containerd's defaults.
	allow("c", -1, -1, "m")
	allow("b", -1, -1, "m")
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {136, -1}} {
		allow("c", d[0], d[1], "rwm")
	}
	for _, d := range c.Devices {
		found, err := m.Device(d.Host)
		if err != nil {
			return fmt.Errorf("%w: device %s: %w", engine.ErrInvalid, d.Host, err)
		}
		access := d.Permissions
		if access == "" {
			access = "rwm"
		}
		for _, f := range found {
			if d.Container != "" {
				f.Path = d.Container + strings.TrimPrefix(f.Path, d.Host)
			}
			s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(d specs.LinuxDevice) bool { return d.Path == f.Path })
			s.Linux.Devices = append(s.Linux.Devices, f)
			allow(f.Type, f.Major, f.Minor, access)
		}
	}
	for _, text := range c.DeviceRules {
		r, err := deviceRule(text)
		if err != nil {
			return err
		}
		rules = append(rules, r)
	}
	if c.Privileged {
		rules = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	s.Linux.Resources.Devices = rules
	return nil
}

var deviceRules = regexp.MustCompile(`^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$`)

// deviceRule reads "c 1:3 rwm".
func deviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	f := deviceRules.FindStringSubmatch(text)
	if f == nil {
		return specs.LinuxDeviceCgroup{}, fmt.Errorf("%w: invalid device cgroup rule format: '%s'", engine.ErrInvalid, text)
	}
	r := specs.LinuxDeviceCgroup{Allow: true, Type: f[1], Access: f[4]}
	for i, to := range []**int64{&r.Major, &r.Minor} {
		if f[2+i] == "*" {
			continue
		}
		n, err := strconv.ParseInt(f[2+i], 10, 64)
		if err != nil {
			return r, fmt.Errorf("%w: device cgroup rule %q", engine.ErrInvalid, text)
		}
		*to = &n
	}
	return r, nil
}
