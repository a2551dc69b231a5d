package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/test/workload"
)

// instance is a Skiff of our own in directories of its own.
type instance struct {
	program string
	dir     string
}

// startInstance starts one on an empty data directory and prints how long it took
// to a ready node.
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
	return i, nil
}

// benchIdle watches the instance for a while in which nobody asks anything of it.
func (i *instance) benchIdle(ctx context.Context, t *table, d time.Duration) error {
	c, err := workload.Client(i.kubeconfig(), "")
	if err != nil {
		return err
	}
	pids := i.pids()
	// What starting has left to do ends meanwhile.
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	revision, err := storeRevision(ctx, c)
	if err != nil {
		return err
	}
	begin := time.Now()
	cpu, err := workload.CPUTime(pids)
	if err != nil {
		return err
	}
	disk, err := workload.Written(pids)
	if err != nil {
		return err
	}
	if err := wait(ctx, d); err != nil {
		return err
	}
	cpuAfter, err := workload.CPUTime(pids)
	if err != nil {
		return err
	}
	diskAfter, err := workload.Written(pids)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	rss, pss, err := workload.Memory(pids)
	if err != nil {
		return err
	}
	after, err := storeRevision(ctx, c)
	if err != nil {
		return err
	}
	t.row("idle memory of all processes, RSS", float64(rss)/1e6, 120, "MB", false)
	t.row("idle memory of all processes, PSS", float64(pss)/1e6, 0, "MB", false)
	t.row("idle CPU", 100*float64(cpuAfter-cpu)/float64(took), 1, "% core", false)
	t.row("idle writes to the store", float64(after-revision)/took.Minutes(), 10, "/min", false)
	t.row("idle bytes to the disk", float64(diskAfter-disk)/1e3/took.Minutes(), 0, "kB/min", false)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// storeRevision counts every write since the cluster was made.
func storeRevision(ctx context.Context, c kubernetes.Interface) (int64, error) {
	list, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(list.ResourceVersion, 10, 64)
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
