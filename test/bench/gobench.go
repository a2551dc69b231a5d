package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// benchStore measures what the store adds to the disk's own sync, the two taken in
// turns on the same disk.
func benchStore(ctx context.Context, t *table) error {
	m, err := goBench(ctx, "./store/disk", "BenchmarkOneClient", "500x")
	if err != nil {
		return err
	}
	fsync, commit := m["fsync-p50-µs"]/1000, m["commit-p50-µs"]/1000
	t.row("store: write and fdatasync, bare, p50", fsync, 0, "ms", false)
	t.row("store: commit, one client, p50", commit, fsync+0.3, "ms", false)
	return nil
}

// benchScheduler measures 10,000 pods onto 5,000 nodes, from watch event to
// binding.
func benchScheduler(ctx context.Context, t *table) error {
	m, err := goBench(ctx, "./scheduler", "BenchmarkSchedule", "1x")
	if err != nil {
		return err
	}
	t.row("scheduling, 5,000 nodes, 10,000 pods", m["pods/s"], 7000, "pods/s", true)
	return nil
}

// goBench runs one Go benchmark and returns its metrics by unit.
func goBench(ctx context.Context, pkg, name, times string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-benchtime", times, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	m, err := metrics(string(out), name)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return m, nil
}

// metrics reads the line of a benchmark: its name, the number of runs, then pairs
// of a figure and its unit.
func metrics(out, name string) (map[string]float64, error) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], name) {
			continue
		}
		m := map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m[f[i+1]] = v
		}
		return m, nil
	}
	return nil, errors.New(name + " printed no figures")
}
