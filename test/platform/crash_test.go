package platform

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCrashWhileStartingPods kills skiff while 30 pods come to be, and again while
// they are replaced: the next start ends what was begun, once.
func TestCrashWhileStartingPods(t *testing.T) {
	c := own(t)
	c.apply(t, fmt.Sprintf(podsManifest, 30, 0))
	c.atLeast(t, 5)
	c.kill(t)
	must(t)(c.up())
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=60s"))
	c.settled(t, 30)
	c.noRestarts(t)

	c.apply(t, fmt.Sprintf(podsManifest, 30, 1))
	c.eventually(t, "some pods are replaced", func() bool {
		out := must(t)(c.kubectl("get", "deployment", "many", "-o", "jsonpath={.status.updatedReplicas}"))
		n, _ := strconv.Atoi(out)
		return n >= 10
	})
	c.kill(t)
	must(t)(c.up())
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=90s"))
	c.settled(t, 30)
	if out := must(t)(c.kubectl("get", "pods", "-l", "app=many", "-o", "name")); strings.Count(out, "\n") != 29 && strings.Count(out, "\n") != 30 {
		t.Errorf("pods:\n%s", out)
	}
	must(t)(c.kubectl("delete", "deployment", "many", "--wait=false"))
	c.settled(t, 0)
}

// noRestarts fails if a container was started more than once: what ran before a
// crash runs on.
func (c *cluster) noRestarts(t *testing.T) {
	t.Helper()
	out := must(t)(c.kubectl("get", "pods", "-o", `jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount} {end}`))
	for _, n := range strings.Fields(out) {
		if n != "0" {
			t.Errorf("restarts: %s", out)
			return
		}
	}
}

// atLeast waits until n containers run.
func (c *cluster) atLeast(t *testing.T, n int) {
	t.Helper()
	c.eventually(t, fmt.Sprint(n, " containers run"), func() bool { return c.containers(t) >= n })
}

func (c *cluster) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

const tickerManifest = `
apiVersion: v1
kind: Pod
metadata: {name: ticker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: test/standin:1, command: [sh, -c, "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.05; done"]}
---
apiVersion: v1
kind: Pod
metadata: {name: ender}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: test/standin:1, command: [sh, -c, "until test -e /go; do sleep 0.05; done; exit 7"]}
`

// TestMonitorCrash kills the process that parents the containers: they live on,
// their logs go on without a gap, and how they end is recorded.
func TestMonitorCrash(t *testing.T) {
	c := own(t)
	c.apply(t, tickerManifest)
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/ticker", "pod/ender", "--timeout=30s"))
	old := c.monitor(t)
	if err := unix.Kill(old, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "another monitor runs", func() bool { now := c.monitor(t); return now != 0 && now != old })
	lines := strings.Count(must(t)(c.kubectl("logs", "ticker")), "\n")
	c.eventually(t, "the log goes on", func() bool { return strings.Count(must(t)(c.kubectl("logs", "ticker")), "\n") > lines+5 })
	for i, line := range strings.Split(strings.TrimSpace(must(t)(c.kubectl("logs", "ticker"))), "\n") {
		if line != fmt.Sprint("tick ", i) {
			t.Fatalf("line %d of the log is %q", i, line)
		}
	}
	must(t)(c.kubectl("exec", "ender", "--", "touch", "/go"))
	must(t)(c.kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "pod/ender", "--timeout=30s"))
	// The next monitor is not the parent of what it adopts: the kernel tells it the
	// code only where it could make itself the heir.
	code := must(t)(c.kubectl("get", "pod", "ender", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"))
	if code != "7" {
		t.Errorf("the exit code is %s", code)
	}
	c.noRestarts(t)
	if out := must(t)(c.kubectl("exec", "ticker", "--", "echo", "hello")); out != "hello\n" {
		t.Errorf("exec says %q", out)
	}
}

// monitor is the process of the instance's monitor, 0 if there is none.
func (c *cluster) monitor(t *testing.T) int {
	t.Helper()
	for _, line := range traces(t, c) {
		if f := strings.Fields(line); f[0] == "process" && strings.Contains(line, "skiff-monitor") {
			pid, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// TestReboot: processes, run directory and network are gone as after the machine's
// restart; the next start runs the pods anew.
func TestReboot(t *testing.T) {
	c := own(t)
	c.apply(t, fmt.Sprintf(podsManifest, 3, 0))
	c.apply(t, fmt.Sprintf(webManifest, 31710))
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=30s"))
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s"))
	c.kill(t)
	saved := filepath.Join(t.TempDir(), "data")
	// What a reboot leaves is the data directory: everything else goes by a reset.
	if err := os.Rename(c.data, saved); err != nil {
		t.Fatal(err)
	}
	if err := c.reset(); err != nil {
		t.Fatal(err)
	}
	noTraces(t, c)
	if err := os.Rename(saved, c.data); err != nil {
		t.Fatal(err)
	}
	must(t)(c.up())
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=30s"))
	c.eventually(t, "the page is served again", func() bool {
		out, err := c.kubectl("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}")
		return err == nil && out == "true 1"
	})
	if got := page(t, fmt.Sprintf("http://%s:31710/", c.nodeIP)); !strings.HasPrefix(got, "web ") {
		t.Errorf("the page is %q", got)
	}
	c.settled(t, 4)
}
