package system

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine is what /info tells of the machine. root is "/" but in tests.
type machine struct{ root string }

func (m machine) line(path string) string {
	b, err := os.ReadFile(filepath.Join(m.root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m machine) has(path string) bool {
	_, err := os.Stat(filepath.Join(m.root, path))
	return err == nil
}

func (m machine) kernel() string { return m.line("/proc/sys/kernel/osrelease") }

func (m machine) forwards() bool { return m.line("/proc/sys/net/ipv4/ip_forward") == "1" }

func (m machine) apparmor() bool { return m.line("/sys/module/apparmor/parameters/enabled") == "Y" }

// system is the name and the version of the operating system.
func (m machine) system() (name, version string) {
	name = "Linux"
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		b, err := os.ReadFile(filepath.Join(m.root, path))
		if err != nil {
			continue
		}
		for l := range bytes.Lines(b) {
			key, value, _ := strings.Cut(strings.TrimSpace(string(l)), "=")
			switch value = strings.Trim(value, `"'`); key {
			case "PRETTY_NAME":
				name = value
			case "VERSION_ID":
				version = value
			}
		}
		break
	}
	return name, version
}

// memory is all of it, in bytes.
func (m machine) memory() int64 {
	b, err := os.ReadFile(filepath.Join(m.root, "/proc/meminfo"))
	if err != nil {
		return 0
	}
	for l := range bytes.Lines(b) {
		f := strings.Fields(string(l))
		if len(f) >= 2 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n * 1024
		}
	}
	return 0
}

// descriptors is how many files this process has open.
func (m machine) descriptors() int {
	entries, err := os.ReadDir(filepath.Join(m.root, "/proc/self/fd"))
	if err != nil {
		return -1
	}
	return len(entries)
}

// limits is what control groups can limit.
type limits struct {
	memory, swap, oomKill, shares, quota, cpuset, pids bool
	throttle                                           bool // of block devices
}

func (m machine) limits(version int) limits {
	if version == 2 {
		have := " " + m.line("/sys/fs/cgroup/cgroup.controllers") + " "
		is := func(controller string) bool { return strings.Contains(have, " "+controller+" ") }
		return limits{
			memory: is("memory"), swap: is("memory"), shares: is("cpu"), quota: is("cpu"), cpuset: is("cpuset"),
			pids: is("pids"), throttle: is("io"),
		}
	}
	at := func(controller, file string) bool { return m.has("/sys/fs/cgroup/" + controller + "/" + file) }
	return limits{
		memory: at("memory", "memory.limit_in_bytes"), swap: at("memory", "memory.memsw.limit_in_bytes"),
		oomKill: at("memory", "memory.oom_control"), shares: at("cpu", "cpu.shares"), quota: at("cpu", "cpu.cfs_quota_us"),
		cpuset: at("cpuset", "cpuset.cpus"), pids: m.has("/sys/fs/cgroup/pids/cgroup.procs"),
		throttle: at("blkio", "blkio.throttle.read_bps_device"),
	}
}

// architecture is the machine's as uname tells it.
func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}
