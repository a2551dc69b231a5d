package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"skiff.dev/skiff/cli/localapi"
)

// instance is a Skiff of our own in directories of its own.
type instance struct {
	program string
	dir     string
}

// startInstance starts one on an empty data directory and prints how long it took
// to a ready node, and its idle memory.
func startInstance(ctx context.Context, program string, t *table) (*instance, error) {
	dir, err := os.MkdirTemp("", "skiff-bench-")
	if err != nil {
		return nil, err
	}
	i := &instance{program: program, dir: dir}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if out, err := i.skiff(ctx, "up", "--detach", "--listen", fmt.Sprintf("0.0.0.0:%d", port)); err != nil {
		return nil, fmt.Errorf("start: %w\n%s", err, out)
	}
	t.row("start to node Ready, empty data directory", time.Since(begin).Seconds(), 1.5, "s", false)
	idle := time.Now()
	before, err := cpuTime(i.pids())
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(15 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := cpuTime(i.pids())
	if err != nil {
		return nil, err
	}
	rss, pss, err := memory(i.pids())
	if err != nil {
		return nil, err
	}
	t.row("idle memory of all processes, RSS", float64(rss)/1e6, 120, "MB", false)
	t.row("idle memory of all processes, PSS", float64(pss)/1e6, 0, "MB", false)
	t.row("idle CPU", 100*float64(after-before)/float64(time.Since(idle)), 1, "% core", false)
	return i, nil
}

func (i *instance) kubeconfig() string { return filepath.Join(i.dir, "data", "admin.kubeconfig") }

// pids are skiff's own process and its monitor's.
func (i *instance) pids() []int {
	out, err := i.skiff(context.Background(), "status", "-o", "json")
	var s localapi.Status
	if json.Unmarshal([]byte(out), &s) != nil {
		fatal(fmt.Errorf("status: %v\n%s", err, out))
	}
	return s.PIDs
}

func (i *instance) skiff(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, i.program, args...)
	cmd.Env = append(os.Environ(), "SKIFF_DATA_DIR="+filepath.Join(i.dir, "data"), "SKIFF_RUN_DIR="+filepath.Join(i.dir, "run"))
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (i *instance) reset() {
	if out, err := i.skiff(context.Background(), "reset", "--yes"); err != nil {
		fmt.Fprintf(os.Stderr, "bench: reset: %v\n%s\n", err, out)
	}
	os.RemoveAll(i.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
