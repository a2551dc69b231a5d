package platform

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// usage is what an instance holds, by name.
type usage map[string]float64

// use measures the instance when it has no pods.
func (c *cluster) use(t *testing.T) usage {
	t.Helper()
	u := usage{}
	c.collect(t)
	for _, line := range strings.Split(must(t)(c.kubectl("get", "--raw", "/metrics")), "\n") {
		name, value, _ := strings.Cut(line, " ")
		switch name {
		case "go_goroutines", "process_open_fds", "go_memstats_heap_alloc_bytes":
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			u[name] = f
		}
	}
	monitor := c.monitor(t)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", monitor))
	if err != nil {
		t.Fatal(err)
	}
	u["monitor's files"] = float64(len(fds))
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", monitor))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(raw))[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	u["monitor's memory"] = pages * float64(os.Getpagesize())
	for _, line := range traces(t, c) {
		kind, _, _ := strings.Cut(line, " ")
		u["traces: "+kind]++
	}
	u["nftables elements"] = float64(c.elements(t))
	u["files in the run directory"] = float64(countFiles(t, c.run))
	for _, dir := range []string{"engine", "pods"} {
		if _, err := os.Stat(filepath.Join(c.data, dir)); err == nil {
			u["files in "+dir] = float64(countFiles(t, filepath.Join(c.data, dir)))
		}
	}
	return u
}

// collect has the process free what it does not use.
func (c *cluster) collect(t *testing.T) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(c.run, "skiff.sock"))
	}}}
	resp, err := client.Get("http://skiff/debug/pprof/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// elements counts the elements and rules in the instance's table.
func (c *cluster) elements(t *testing.T) int {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, table := range tables {
		if table.Name != c.instance() {
			continue
		}
		sets, err := conn.GetSets(table)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sets {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				t.Fatal(err)
			}
			n += 1 + len(elements)
		}
	}
	return n
}

// allowed is how much more may be held after many pods than after a few: what is
// not listed may not grow at all.
var allowed = map[string]float64{
	"go_goroutines":                15, // connections come and go
	"process_open_fds":             12,
	"go_memstats_heap_alloc_bytes": 40 << 20, // events for watchers stay 75 s at least, 180 KB for each pod that came and went
	"monitor's memory":             4 << 20,
	"files in engine":              2, // the database of images has a journal
}

// TestNothingLeaks makes and deletes 160 pods in batches, each behind a service,
// with a volume and a probe, and an exec into some.
func TestNothingLeaks(t *testing.T) {
	c := own(t)
	const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: leak}
spec:
  replicas: %d
  selector: {matchLabels: {app: leak}}
  template:
    metadata: {labels: {app: leak}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: test/standin:1
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /ready, port: 80}, periodSeconds: 1}
        livenessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
        volumeMounts: [{name: e, mountPath: /e}]
      volumes: [{name: e, emptyDir: {medium: Memory}}]
---
apiVersion: v1
kind: Service
metadata: {name: leak}
spec: {selector: {app: leak}, ports: [{port: 80}]}
`
	batch := func(pods int) {
		t.Helper()
		c.apply(t, fmt.Sprintf(manifest, pods))
		must(t)(c.kubectl("rollout", "status", "deployment/leak", "--timeout=90s"))
		must(t)(c.kubectl("exec", "deploy/leak", "--", "true"))
		must(t)(c.kubectl("logs", "deploy/leak"))
		must(t)(c.kubectl("delete", "deployment/leak", "service/leak", "--cascade=foreground", "--timeout=60s"))
		c.settled(t, 0)
	}
	batch(20) // what is made on first use is there after this
	before := c.use(t)
	for range 5 {
		batch(32)
	}
	var grown []string
	c.eventually(t, "nothing has grown", func() bool {
		after := c.use(t)
		grown = nil
		for name, now := range after {
			if now > before[name]+allowed[name] {
				grown = append(grown, fmt.Sprintf("%s: %.0f, then %.0f", name, before[name], now))
			}
		}
		if len(grown) > 0 {
			t.Log(strings.Join(grown, "; "))
		}
		return len(grown) == 0
	})
	t.Logf("before %v, after %v", before, c.use(t))
}
