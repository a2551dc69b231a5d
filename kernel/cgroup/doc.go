// Package cgroup is the kernel room's part for control groups: Tree is the
// contract, V1 and V2 are the kernel's two forms of it, and Fake one in memory
// that dumps as text. Processes are put into groups by the OCI runtime; this
// package makes the groups above, changes limits, counts, kills and removes.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is the control groups of a machine. A path is absolute within the tree,
// "/skiff/pods/a", and the same in every hierarchy of version 1. Methods that
// meet a group that does not exist answer fs.ErrNotExist, except Kill and Remove,
// which have then nothing to do.
type Tree interface {
	// Version is 1 or 2.
	Version() int
	// Create makes the group and those above it, and applies the limits to the
	// group itself. Doing it again changes the limits only.
	Create(path string, l Limits) error
	// Update changes limits; zero values leave a limit as it is.
	Update(path string, l Limits) error
	// AddProc moves a process into the group.
	AddProc(path string, pid int) error
	// Procs lists the processes in the group and in those below.
	Procs(path string) ([]int, error)
	// Kill sends SIGKILL to every process in the group and below, so that none
	// escapes by forking. It does not wait for their end.
	Kill(path string) error
	// Remove deletes the group and those below it. It fails with EBUSY while
	// processes are in them.
	Remove(path string) error
	Stats(path string) (Stats, error)
	// Detail reads what Stats leaves out, for people who look at one group.
	Detail(path string) (Detail, error)
	// Freeze stops all processes of the group, and returns when they have stopped, or
	// lets them go on. Frozen tells whether they are stopped.
	Freeze(path string, on bool) error
	Frozen(path string) bool
	// OOMFile is the file that counts how often the kernel killed for want of
	// memory, in a line "oom_kill N".
	OOMFile(path string) string
	// Children lists the names of the groups below path.
	Children(path string) ([]string, error)
}

// Limits are in the units of engine.Resources; zero means unlimited or unchanged.
type Limits struct {
	CPUShares   int64 // version 1's scale: 1024 a core
	CPUQuota    int64 // microseconds in a period; negative is none
	CPUPeriod   int64
	CPUSet      string
	MemsSet     string
	Memory      int64 // bytes; negative is none
	MemorySwap  int64 // bytes of memory and swap together
	Reservation int64
	Pids        int64
	HugePages   map[string]int64
	Unified     map[string]string // version 2's files by name
}

// Stats are a group's counters, in nanoseconds and bytes.
type Stats struct {
	CPUNanos         uint64
	MemoryUsage      uint64
	MemoryWorkingSet uint64
	MemoryRSS        uint64
	PageFaults       uint64
	MajorPageFaults  uint64
	MemoryLimit      uint64 // 0 where there is none
	Pids             uint64
	ReadBytes        uint64
	WriteBytes       uint64
}

// DefaultMount is where distributions mount control groups.
const DefaultMount = "/sys/fs/cgroup"

// ErrNone says that the machine mounts no control groups that can be used.
var ErrNone = errors.New("cgroup: no usable control groups: mount cgroup2 at /sys/fs/cgroup, or the version 1 hierarchies below it")

// Detect returns the tree of this machine.
func Detect() (Tree, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(DefaultMount, &st); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return NewV2(DefaultMount), nil
	}
	t := NewV1(DefaultMount)
	if t.dir("memory", "/") == "" || t.dir("pids", "/") == "" || t.dir("cpu", "/") == "" {
		return nil, fmt.Errorf("%w: at least cpu, memory and pids are needed", ErrNone)
	}
	return t, nil
}

// WeightFromShares converts version 1's cpu.shares [2, 262144] into version 2's
// cpu.weight [1, 10000] as crun and runc 1.1 do
// (https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/2254-cgroup-v2).
func WeightFromShares(shares int64) int64 {
	if shares == 0 {
		return 0
	}
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}

// clean keeps a path inside its tree.
func clean(p string) string { return path.Clean("/" + p) }

// parents lists the groups from below the root down to p: "/a", "/a/b".
func parents(p string) []string {
	var out []string
	for i := 1; i < len(p); i++ {
		if p[i] == '/' {
			out = append(out, p[:i])
		}
	}
	if p != "/" {
		out = append(out, p)
	}
	return out
}

func writeFile(dir, name, value string) error {
	err := os.WriteFile(dir+"/"+name, []byte(value), 0o644)
	if err != nil {
		return fmt.Errorf("cgroup: write %q: %w", value, err)
	}
	return nil
}

func readString(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
