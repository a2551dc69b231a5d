package cgroup

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Fake is a Tree in memory. Killed tells which processes were killed. Its zero value is an empty tree.
type Fake struct {
	mu     sync.Mutex
	groups map[string]*fakeGroup
	killed []int
}

type fakeGroup struct {
	limits Limits
	procs  []int
	stats  Stats
	frozen bool
}

var _ Tree = (*Fake)(nil)

// Version implements Tree.
func (f *Fake) Version() int { return 2 }

// Create implements Tree.
func (f *Fake) Create(p string, l Limits) error {
	f.mu.Lock()
	if f.groups == nil {
		f.groups = map[string]*fakeGroup{}
	}
	for _, g := range parents(clean(p)) {
		if f.groups[g] == nil {
			f.groups[g] = &fakeGroup{}
		}
	}
	f.mu.Unlock()
	return f.Update(p, l)
}

func (f *Fake) get(p string) (*fakeGroup, error) {
	g, ok := f.groups[clean(p)]
	if !ok {
		return nil, fmt.Errorf("cgroup %s: %w", p, fs.ErrNotExist)
	}
	return g, nil
}

// Update implements Tree.
func (f *Fake) Update(p string, l Limits) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	if err != nil {
		return err
	}
	for _, v := range []struct {
		to *int64
		v  int64
	}{{&g.limits.CPUShares, l.CPUShares}, {&g.limits.CPUQuota, l.CPUQuota}, {&g.limits.CPUPeriod, l.CPUPeriod},
		{&g.limits.Memory, l.Memory}, {&g.limits.Pids, l.Pids}} {
		if v.v != 0 {
			*v.to = v.v
		}
	}
	return nil
}

// AddProc implements Tree.
func (f *Fake) AddProc(p string, pid int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	if err == nil {
		g.procs = append(g.procs, pid)
	}
	return err
}

// SetStats chooses what Stats answers.
func (f *Fake) SetStats(p string, s Stats) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	if err == nil {
		g.stats = s
	}
	return err
}

// Killed returns the processes killed so far.
func (f *Fake) Killed() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.killed)
}

// below lists the paths of p and the groups in it, deepest last.
func (f *Fake) below(p string) []string {
	p = clean(p)
	var out []string
	for g := range f.groups {
		if g == p || strings.HasPrefix(g, strings.TrimSuffix(p, "/")+"/") {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// Procs implements Tree.
func (f *Fake) Procs(p string) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.get(p); err != nil {
		return nil, err
	}
	var out []int
	for _, g := range f.below(p) {
		out = append(out, f.groups[g].procs...)
	}
	return out, nil
}

// Kill implements Tree; in the fake the dead leave at once.
func (f *Fake) Kill(p string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.below(p) {
		f.killed = append(f.killed, f.groups[g].procs...)
		f.groups[g].procs = nil
	}
	return nil
}

// Remove implements Tree.
func (f *Fake) Remove(p string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.below(p) {
		if len(f.groups[g].procs) > 0 {
			return fmt.Errorf("remove cgroup %s: %w", g, unix.EBUSY)
		}
	}
	for _, g := range f.below(p) {
		delete(f.groups, g)
	}
	return nil
}

// Stats implements Tree.
func (f *Fake) Stats(p string) (Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	if err != nil {
		return Stats{}, err
	}
	return g.stats, nil
}

// OOMFile implements Tree.
func (f *Fake) OOMFile(p string) string { return clean(p) + "/memory.events" }

// Children implements Tree.
func (f *Fake) Children(p string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for g := range f.groups {
		if path.Dir(g) == clean(p) {
			out = append(out, path.Base(g))
		}
	}
	slices.Sort(out)
	return out, nil
}

// Dump is the tree as text, a line a group with the limits that are set.
func (f *Fake) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(f.groups)) {
		g := f.groups[p]
		fmt.Fprintf(&b, "%s shares=%d quota=%d memory=%d pids=%d procs=%v\n", p, g.limits.CPUShares, g.limits.CPUQuota, g.limits.Memory, g.limits.Pids, g.procs)
	}
	return b.String()
}
