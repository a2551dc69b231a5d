package platform

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const limitedManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: limited}
spec:
  replicas: 2
  selector: {matchLabels: {app: limited}}
  template:
    metadata: {labels: {app: limited}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: test/standin:1
        resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 64Mi}}
        readinessProbe: {httpGet: {path: /ready, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: limited}
spec: {selector: {app: limited}, ports: [{port: 80}]}
`

const greedyManifest = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: test/standin:1
    command: [sh, -c, "exec tail /dev/zero"]
    resources: {limits: {memory: 20Mi}}
`

// TestControlGroups looks at what the kernel was told of a pod's limits, sees it act
// on them, and finds nothing of it after a reset; on machines of control groups
// version 1 and 2. What is asked of one version is what the kubelet tells the other
// (https://kubernetes.io/docs/concepts/architecture/cgroups/).
func TestControlGroups(t *testing.T) {
	c := own(t)
	c.apply(t, limitedManifest)
	must(t)(c.kubectl("rollout", "status", "deployment/limited", "--timeout=60s"))
	const which = `jsonpath={range .items[*]}{.status.containerStatuses[0].containerID}{"\n"}{end}`
	before := must(t)(c.kubectl("get", "pods", "-l", "app=limited", "-o", which))
	ids := strings.Fields(before)
	if len(ids) != 2 {
		t.Fatalf("containers %q", ids)
	}
	limits := func() {
		t.Helper()
		for _, id := range ids {
			for file, want := range limitFiles {
				dir := c.group(t, strings.TrimPrefix(id, "containerd://"), file)
				for _, of := range []string{dir, filepath.Dir(dir)} { // the container's group and the pod's
					raw, err := os.ReadFile(filepath.Join(of, file))
					if got := strings.TrimSpace(string(raw)); err != nil || got != want {
						t.Errorf("%s/%s is %q (%v), want %q", of, file, got, err, want)
					}
				}
			}
		}
		const own = "cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
		if out := must(t)(c.kubectl("exec", "deployment/limited", "--", "sh", "-c", own)); !strings.Contains(out, "67108864") {
			t.Errorf("the container sees the limit %q", out)
		}
		ip := must(t)(c.kubectl("get", "service", "limited", "-o", "jsonpath={.spec.clusterIP}"))
		if got := page(t, "http://"+ip); !strings.HasPrefix(got, "limited-") {
			t.Errorf("the service says %q", got)
		}
	}
	killed := func(name string) {
		t.Helper()
		c.apply(t, fmt.Sprintf(greedyManifest, name))
		must(t)(c.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/"+name, "--timeout=60s"))
		if got := must(t)(c.kubectl("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}")); got != "OOMKilled 137" {
			t.Errorf("%s ended as %q", name, got)
		}
	}
	limits()
	killed("greedy")
	// The next process of skiff finds the groups as they are.
	c.kill(t)
	must(t)(c.up())
	if after := must(t)(c.kubectl("get", "pods", "-l", "app=limited", "-o", which)); after != before {
		t.Errorf("containers\n%s became\n%s", before, after)
	}
	limits()
	killed("greedier")
	must(t)(c.skiff("down"))
	if left := traces(t, c); len(left) > 0 {
		t.Errorf("left after down:\n%s", strings.Join(left, "\n"))
	}
	if err := c.reset(); err != nil {
		t.Error(err)
	}
	noTraces(t, c)
}

// limitFiles are what limitedManifest's limits are in the files of this machine's
// version.
var limitFiles = func() map[string]string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return map[string]string{"memory.max": "67108864", "cpu.max": "20000 100000", "cpu.weight": "4"}
	}
	return map[string]string{"memory.limit_in_bytes": "67108864", "cpu.cfs_quota_us": "20000", "cpu.shares": "102"}
}()

// group finds the control group of a container that has the file.
func (c *cluster) group(t *testing.T, id, file string) (dir string) {
	t.Helper()
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !strings.Contains(path, c.instance()) || !strings.HasSuffix(path, id) {
			return nil // other groups come and go
		}
		if _, err := os.Stat(filepath.Join(path, file)); err == nil {
			dir = path
		}
		return nil
	})
	if err != nil || dir == "" {
		t.Fatalf("no group of container %s has %s: %v", id, file, err)
	}
	return dir
}
