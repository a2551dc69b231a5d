package bundle

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

// defaultCapabilities are Docker's and containerd's.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// Capabilities are the kernel's, by number.
var Capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

func capName(c string) string {
	return "CAP_" + strings.TrimPrefix(strings.ToUpper(c), "CAP_")
}

// capabilities are the default ones without CapDrop and with CapAdd, "ALL" first
// (as the CRI: https://github.com/containerd/containerd/blob/main/internal/cri/server/container_create.go).
func capabilities(c *engine.ContainerSpec, m *Machine) *specs.LinuxCapabilities {
	have := slices.Clone(defaultCapabilities)
	if c.Privileged {
		return capabilitySet(m.Capabilities)
	}
	all := func(list []string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, "ALL") })
	}
	if all(c.CapAdd) {
		have = slices.Clone(m.Capabilities)
	}
	if all(c.CapDrop) {
		have = nil
	}
	for _, a := range c.CapAdd {
		if n := capName(a); n != "CAP_ALL" && !slices.Contains(have, n) {
			have = append(have, n)
		}
	}
	have = slices.DeleteFunc(have, func(n string) bool {
		return slices.ContainsFunc(c.CapDrop, func(d string) bool { return capName(d) == n })
	})
	for _, n := range have {
		if slices.Contains(Capabilities, n) && !slices.Contains(m.Capabilities, n) {
			m.Lowered("this machine cannot give " + n)
		}
	}
	have = slices.DeleteFunc(have, func(n string) bool {
		return slices.Contains(Capabilities, n) && !slices.Contains(m.Capabilities, n)
	})
	return capabilitySet(have)
}

func capabilitySet(list []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
}

// maskedPaths and readonlyPaths are Docker's and containerd's.
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
		"/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// maxProfile bounds a seccomp profile's file.
const maxProfile = 1 << 20

// seccompProfile resolves the container's profile for this machine's architecture
// and the container's capabilities.
func seccompProfile(c *engine.ContainerSpec, s *specs.Spec) (*specs.LinuxSeccomp, error) {
	if c.Privileged {
		return nil, nil
	}
	switch c.Seccomp {
	case "Unconfined", "unconfined":
		return nil, nil
	case "", "RuntimeDefault":
		p, err := seccomp.GetDefaultProfile(s)
		if err != nil {
			return nil, fmt.Errorf("default seccomp profile: %w", err)
		}
		return p, nil
	}
	if strings.HasPrefix(c.Seccomp, "{") {
		p, err := seccomp.LoadProfile(c.Seccomp, s)
		if err != nil {
			return nil, fmt.Errorf("%w: seccomp profile: %w", engine.ErrInvalid, err)
		}
		return p, nil
	}
	st, err := os.Stat(c.Seccomp)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxProfile) {
		err = errors.New("not a file of a profile's size")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(c.Seccomp)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: seccomp profile %s: %w", engine.ErrInvalid, c.Seccomp, err)
	}
	p, err := seccomp.LoadProfile(string(b), s)
	if err != nil {
		return nil, fmt.Errorf("%w: seccomp profile %s: %w", engine.ErrInvalid, c.Seccomp, err)
	}
	return p, nil
}
