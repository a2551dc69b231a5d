package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/bundle"
)

// newMachine finds out what this process may give to containers.
func newMachine(cgroupVersion int, lowered func(string)) *bundle.Machine {
	m := &bundle.Machine{CgroupVersion: cgroupVersion, Lowered: lowered, HardLimit: hardLimit, Device: devicesAt, HostDevices: hostDevices}
	status, _ := os.ReadFile("/proc/self/status")
	caps := parseCapabilities(status)
	for i, name := range bundle.Capabilities {
		if caps&(1<<i) != 0 {
			m.Capabilities = append(m.Capabilities, name)
		}
	}
	m.Resource = caps&(1<<unix.CAP_SYS_RESOURCE) != 0
	if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		m.OOMScoreAdj, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return m
}

// parseCapabilities reads what is both permitted and in the bounding set.
func parseCapabilities(status []byte) uint64 {
	caps := ^uint64(0)
	for line := range bytes.Lines(status) {
		for _, key := range []string{"CapPrm:", "CapBnd:"} {
			if v, ok := strings.CutPrefix(string(line), key); ok {
				n, _ := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
				caps &= n
			}
		}
	}
	return caps
}

var rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK": unix.RLIMIT_STACK,
}

func hardLimit(name string) (uint64, bool) {
	n, ok := rlimits[name]
	if !ok {
		return 0, false
	}
	var r unix.Rlimit
	if unix.Getrlimit(n, &r) != nil {
		return 0, false
	}
	return r.Max, true
}

// device describes a device node; ok is false for what is none.
func device(path string) (d specs.LinuxDevice, ok bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return d, false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return d, false, nil
	}
	mode := os.FileMode(st.Mode & 0o777)
	uid, gid := st.Uid, st.Gid
	d.Path, d.FileMode, d.UID, d.GID = path, &mode, &uid, &gid
	d.Major, d.Minor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	return d, true, nil
}

// devicesAt returns a device node, or all in a directory.
func devicesAt(path string) ([]specs.LinuxDevice, error) {
	d, ok, err := device(path)
	if err != nil {
		return nil, err
	}
	if ok {
		return []specs.LinuxDevice{d}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a device nor a directory", path)
	}
	var out []specs.LinuxDevice
	for _, e := range entries {
		if d, ok, err := device(filepath.Join(path, e.Name())); err == nil && ok {
			out = append(out, d)
		}
	}
	return out, nil
}

// hostDevices lists the nodes below /dev, without those that every container gets
// of its own.
func hostDevices() []specs.LinuxDevice {
	var out []specs.LinuxDevice
	skip := map[string]bool{"pts": true, "shm": true, "fd": true, "mqueue": true, ".lxc": true, ".lxd-mounts": true, ".udev": true, "console": true, "ptmx": true}
	std := map[string]bool{"null": true, "zero": true, "full": true, "random": true, "urandom": true, "tty": true}
	var walk func(dir string)
	walk = func(dir string) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			p := filepath.Join(dir, e.Name())
			switch {
			case skip[e.Name()], dir == "/dev" && std[e.Name()]:
			case e.IsDir():
				walk(p)
			case e.Type()&os.ModeDevice != 0:
				if d, ok, err := device(p); err == nil && ok {
					out = append(out, d)
				}
			}
		}
	}
	walk("/dev")
	return out
}
