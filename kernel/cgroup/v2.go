package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// V2 is the unified hierarchy.
type V2 struct {
	root  string
	rmdir func(string) error
}

// NewV2 uses the unified hierarchy mounted at root.
func NewV2(root string) *V2 { return &V2{root: root, rmdir: unix.Rmdir} }

// Version implements Tree.
func (t *V2) Version() int { return 2 }

func (t *V2) dir(p string) string { return t.root + clean(p) }

// Create implements Tree.
func (t *V2) Create(p string, l Limits) error {
	above := t.root
	for _, g := range parents(clean(p)) {
		if err := t.enable(above); err != nil {
			return err
		}
		if err := os.Mkdir(t.root+g, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cgroup: create %s: %w", g, err)
		}
		above = t.root + g
	}
	return t.Update(p, l)
}

// enable hands every controller that dir has to the groups below it. Controllers
// are enabled one by one, since one that cannot be must not keep the others back.
func (t *V2) enable(dir string) error {
	have, err := readString(dir + "/cgroup.controllers")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	on, err := readString(dir + "/cgroup.subtree_control")
	if err != nil {
		return err
	}
	enabled := " " + on + " "
	for _, c := range strings.Fields(have) {
		if strings.Contains(enabled, " "+c+" ") {
			continue
		}
		err := writeFile(dir, "cgroup.subtree_control", "+"+c)
		if err != nil && (c == "cpu" || c == "memory" || c == "pids") {
			return err
		}
	}
	return nil
}

// Update implements Tree.
func (t *V2) Update(p string, l Limits) error {
	dir := t.dir(p)
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	for _, f := range v2Files(l) {
		if err := writeFile(dir, f.name, f.value); err != nil {
			if f.optional && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
				continue
			}
			return err
		}
	}
	return nil
}

type file struct {
	name, value string
	optional    bool // the kernel may lack it
}

// v2Files is what version 2 wants written for l, in order.
func v2Files(l Limits) []file {
	var out []file
	number := func(name string, v int64, optional bool) {
		switch {
		case v < 0:
			out = append(out, file{name, "max", optional})
		case v > 0:
			out = append(out, file{name, strconv.FormatInt(v, 10), optional})
		}
	}
	number("cpu.weight", WeightFromShares(l.CPUShares), false)
	if l.CPUQuota != 0 || l.CPUPeriod != 0 {
		quota, period := "max", l.CPUPeriod
		if l.CPUQuota > 0 {
			quota = strconv.FormatInt(l.CPUQuota, 10)
		}
		if period == 0 {
			period = 100000
		}
		out = append(out, file{"cpu.max", quota + " " + strconv.FormatInt(period, 10), false})
	}
	if l.CPUSet != "" {
		out = append(out, file{"cpuset.cpus", l.CPUSet, false})
	}
	if l.MemsSet != "" {
		out = append(out, file{"cpuset.mems", l.MemsSet, false})
	}
	number("memory.low", l.Reservation, true)
	number("memory.max", l.Memory, false)
	if l.MemorySwap > 0 && l.Memory > 0 {
		out = append(out, file{"memory.swap.max", strconv.FormatInt(max(l.MemorySwap-l.Memory, 0), 10), true})
	} else if l.MemorySwap < 0 {
		out = append(out, file{"memory.swap.max", "max", true})
	}
	number("pids.max", l.Pids, false)
	for size, v := range l.HugePages {
		out = append(out, file{"hugetlb." + size + ".max", strconv.FormatInt(v, 10), true})
	}
	for name, v := range l.Unified {
		out = append(out, file{name, v, false})
	}
	return out
}

// AddProc implements Tree.
func (t *V2) AddProc(p string, pid int) error {
	return writeFile(t.dir(p), "cgroup.procs", strconv.Itoa(pid))
}

// Procs implements Tree.
func (t *V2) Procs(p string) ([]int, error) { return procsBelow(t.dir(p)) }

// Kill implements Tree.
func (t *V2) Kill(p string) error {
	dir := t.dir(p)
	// O_WRONLY alone: the file must not be made where the kernel (before 5.14)
	// lacks it.
	f, err := os.OpenFile(dir+"/cgroup.kill", os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("1")
		f.Close()
		if err != nil {
			return fmt.Errorf("cgroup: kill %s: %w", p, err)
		}
		return nil
	}
	if _, serr := os.Stat(dir); serr != nil {
		return nil
	}
	if err := writeFile(dir, "cgroup.freeze", "1"); err != nil {
		return err
	}
	defer writeFile(dir, "cgroup.freeze", "0")
	return killBelow(dir)
}

// Remove implements Tree.
func (t *V2) Remove(p string) error { return removeBelow(t.dir(p), t.rmdir) }

// OOMFile implements Tree.
func (t *V2) OOMFile(p string) string { return t.dir(p) + "/memory.events" }

// Children implements Tree.
func (t *V2) Children(p string) ([]string, error) { return childrenOf(t.dir(p)) }

// Stats implements Tree.
func (t *V2) Stats(p string) (Stats, error) {
	dir := t.dir(p)
	var s Stats
	if _, err := os.Stat(dir); err != nil {
		return s, err
	}
	s.CPUNanos = readKeys(dir + "/cpu.stat")["usage_usec"] * 1000
	s.MemoryUsage = readNumber(dir + "/memory.current")
	s.MemoryLimit = readNumber(dir + "/memory.max")
	m := readKeys(dir + "/memory.stat")
	s.MemoryRSS = m["anon"]
	s.MemoryWorkingSet = minus(s.MemoryUsage, m["inactive_file"])
	s.PageFaults, s.MajorPageFaults = m["pgfault"], m["pgmajfault"]
	s.Pids = readNumber(dir + "/pids.current")
	io, _ := os.ReadFile(dir + "/io.stat")
	s.ReadBytes, s.WriteBytes = parseIOStat(string(io))
	return s, nil
}

// parseIOStat adds up rbytes and wbytes of all devices.
func parseIOStat(text string) (read, write uint64) {
	for _, f := range strings.Fields(text) {
		if v, ok := strings.CutPrefix(f, "rbytes="); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			read += n
		} else if v, ok := strings.CutPrefix(f, "wbytes="); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			write += n
		}
	}
	return read, write
}
