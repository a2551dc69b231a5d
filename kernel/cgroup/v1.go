package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// V1 is the hierarchies of version 1, one a controller or several joined
// ("cpu,cpuacct"), below one directory.
type V1 struct {
	root string
	// dirs is each distinct hierarchy once; byController finds one by controller.
	dirs         []string
	byController map[string]string
	// unified is version 2's tree beside them, "" where there is none: no group is
	// made there, but runc makes those of its containers.
	unified string
	rmdir   func(string) error
}

var v1Controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "systemd"}

// NewV1 uses the hierarchies that are mounted below root.
func NewV1(root string) *V1 {
	t := &V1{root: root, byController: map[string]string{}, rmdir: unix.Rmdir}
	for _, c := range v1Controllers {
		d := root + "/" + c
		if to, err := os.Readlink(d); err == nil && !strings.HasPrefix(to, "/") {
			d = root + "/" + to // cpu -> cpu,cpuacct
		}
		if _, err := os.Stat(d + "/cgroup.procs"); err != nil {
			continue
		}
		t.byController[c] = d
		if !slices.Contains(t.dirs, d) {
			t.dirs = append(t.dirs, d)
		}
	}
	if d := root + "/unified"; exists(d + "/cgroup.procs") {
		t.unified = d
	}
	return t
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Version implements Tree.
func (t *V1) Version() int { return 1 }

// dir is p's directory in controller's hierarchy, "" where there is none.
func (t *V1) dir(controller, p string) string {
	d, ok := t.byController[controller]
	if !ok {
		return ""
	}
	return d + strings.TrimSuffix(clean(p), "/")
}

// Create implements Tree.
func (t *V1) Create(p string, l Limits) error {
	for _, h := range t.dirs {
		for _, g := range parents(clean(p)) {
			err := os.Mkdir(h+g, 0o755)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("cgroup: create %s: %w", h+g, err)
			}
			if h == t.byController["cpuset"] {
				if err := inheritCPUSet(h + g); err != nil {
					return err
				}
			}
		}
	}
	return t.Update(p, l)
}

// inheritCPUSet gives a new group its parent's processors and memory nodes:
// version 1 begins with none and refuses processes then.
func inheritCPUSet(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		v, err := readString(dir + "/../" + name)
		if err != nil {
			return err
		}
		if err := writeFile(dir, name, v); err != nil {
			return err
		}
	}
	return nil
}

// Update implements Tree.
func (t *V1) Update(p string, l Limits) error {
	if d := t.dir("memory", p); d != "" {
		if _, err := os.Stat(d); err != nil {
			return err
		}
		if err := updateMemory(d, l); err != nil {
			return err
		}
	}
	set := func(controller, name string, v int64) error {
		d := t.dir(controller, p)
		if v == 0 || d == "" {
			return nil
		}
		if v < 0 && controller == "pids" {
			return writeFile(d, name, "max")
		}
		return writeFile(d, name, strconv.FormatInt(v, 10))
	}
	err := errors.Join(
		set("cpu", "cpu.shares", l.CPUShares),
		set("cpu", "cpu.cfs_period_us", l.CPUPeriod),
		set("cpu", "cpu.cfs_quota_us", max(l.CPUQuota, -1)),
		set("pids", "pids.max", l.Pids),
	)
	for size, v := range l.HugePages {
		err = errors.Join(err, set("hugetlb", "hugetlb."+size+".limit_in_bytes", v))
	}
	if d := t.dir("cpuset", p); d != "" {
		if l.CPUSet != "" {
			err = errors.Join(err, writeFile(d, "cpuset.cpus", l.CPUSet))
		}
		if l.MemsSet != "" {
			err = errors.Join(err, writeFile(d, "cpuset.mems", l.MemsSet))
		}
	}
	return err
}

// updateMemory writes the limit of memory and the limit of memory and swap in the
// order that keeps the second the larger one.
func updateMemory(dir string, l Limits) error {
	if l.Reservation != 0 {
		if err := writeFile(dir, "memory.soft_limit_in_bytes", strconv.FormatInt(l.Reservation, 10)); err != nil {
			return err
		}
	}
	const mem, swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	_, err := os.Stat(dir + "/" + swap)
	hasSwap := err == nil
	order := []string{mem, swap}
	if cur := readNumber(dir + "/" + swap); hasSwap && l.MemorySwap != 0 && (l.MemorySwap < 0 || uint64(l.MemorySwap) > cur) && cur != 0 {
		order = []string{swap, mem}
	}
	for _, name := range order {
		v := l.Memory
		if name == swap {
			if v = l.MemorySwap; !hasSwap {
				continue // the kernel does not count swap
			}
		}
		if v == 0 {
			continue
		}
		if err := writeFile(dir, name, strconv.FormatInt(max(v, -1), 10)); err != nil {
			return err
		}
	}
	return nil
}

// AddProc implements Tree.
func (t *V1) AddProc(p string, pid int) error {
	var errs []error
	for _, h := range t.dirs {
		errs = append(errs, writeFile(h+clean(p), "cgroup.procs", strconv.Itoa(pid)))
	}
	return errors.Join(errs...)
}

// Procs implements Tree. Every process is in each hierarchy; the first that is
// there is asked.
func (t *V1) Procs(p string) ([]int, error) {
	for _, c := range []string{"pids", "freezer", "memory", "cpu"} {
		if d := t.dir(c, p); d != "" {
			return procsBelow(d)
		}
	}
	return nil, ErrNone
}

// Kill implements Tree: frozen processes cannot fork while they are counted, and
// die when they are thawed.
func (t *V1) Kill(p string) error {
	if d := t.dir("freezer", p); d != "" {
		if _, err := os.Stat(d); err == nil {
			if err := writeFile(d, "freezer.state", "FROZEN"); err == nil {
				defer writeFile(d, "freezer.state", "THAWED")
			}
			if err := killBelow(d); err != nil {
				return err
			}
		}
	}
	if d := t.dir("pids", p); d != "" {
		return killBelow(d)
	}
	return nil
}

// Remove implements Tree.
func (t *V1) Remove(p string) error {
	var errs []error
	for _, h := range t.dirs {
		errs = append(errs, removeBelow(h+clean(p), t.rmdir))
	}
	if t.unified != "" {
		errs = append(errs, removeBelow(t.unified+clean(p), t.rmdir))
	}
	return errors.Join(errs...)
}

// OOMFile implements Tree.
func (t *V1) OOMFile(p string) string { return t.dir("memory", p) + "/memory.oom_control" }

// Children implements Tree.
func (t *V1) Children(p string) ([]string, error) {
	var out []string
	var found bool
	for _, h := range t.dirs {
		names, err := childrenOf(h + clean(p))
		if err != nil {
			continue
		}
		found = true
		out = append(out, names...)
	}
	if !found {
		return nil, &os.PathError{Op: "list cgroup", Path: p, Err: fs.ErrNotExist}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Stats implements Tree.
func (t *V1) Stats(p string) (Stats, error) {
	var s Stats
	mem := t.dir("memory", p)
	if _, err := os.Stat(mem); err != nil {
		return s, err
	}
	s.CPUNanos = readNumber(t.dir("cpuacct", p) + "/cpuacct.usage")
	s.MemoryUsage = readNumber(mem + "/memory.usage_in_bytes")
	m := readKeys(mem + "/memory.stat")
	s.MemoryRSS = m["total_rss"]
	s.MemoryWorkingSet = minus(s.MemoryUsage, m["total_inactive_file"])
	s.PageFaults, s.MajorPageFaults = m["total_pgfault"], m["total_pgmajfault"]
	s.MemoryLimit = readNumber(mem + "/memory.limit_in_bytes")
	s.Pids = readNumber(t.dir("pids", p) + "/pids.current")
	if d := t.dir("blkio", p); d != "" {
		b, err := os.ReadFile(d + "/blkio.throttle.io_service_bytes_recursive")
		if err != nil {
			b, _ = os.ReadFile(d + "/blkio.throttle.io_service_bytes")
		}
		s.ReadBytes, s.WriteBytes = parseBlkio(string(b))
	}
	return s, nil
}

// parseBlkio adds up lines of "8:0 Read 4096".
func parseBlkio(text string) (read, write uint64) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, _ := strconv.ParseUint(f[2], 10, 64)
		switch f[1] {
		case "Read":
			read += n
		case "Write":
			write += n
		}
	}
	return read, write
}
