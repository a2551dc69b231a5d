package platform

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// own starts an instance that only this test uses, and resets it at its end.
func own(t *testing.T, flags ...string) *cluster {
	t.Helper()
	needRoot(t)
	c, err := startCluster(t.TempDir(), flags...)
	if c != nil {
		t.Cleanup(func() {
			c.showLog(t)
			if err := c.reset(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ownIn is own in a directory, without images.
func ownIn(t *testing.T, dir string) *cluster {
	t.Helper()
	c, err := newCluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	must(t)(c.up())
	t.Cleanup(func() {
		c.showLog(t)
		if err := c.reset(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// smallDisk is a directory for an instance, whose data directory is on a disk of a size
// such as 128m.
func smallDisk(t *testing.T, size string) (dir, data string) {
	t.Helper()
	needRoot(t)
	dir = t.TempDir()
	data = filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, data
}

func must(t *testing.T) func(string, error) string {
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// apply feeds a manifest to kubectl.
func (c *cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t)(c.kubectl("apply", "-f", path))
}

// showLog prints the end of skiff's log if the test has failed.
func (c *cluster) showLog(t *testing.T) {
	if !t.Failed() {
		return
	}
	raw, err := os.ReadFile(filepath.Join(c.data, "skiff.log"))
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("the end of skiff.log:\n%s", raw[max(0, len(raw)-4000):])
}

// pid is the main process, as it says in its lock file.
func (c *cluster) pid(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.data, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// kill ends the main process as a crash does and waits until it is gone.
func (c *cluster) kill(t *testing.T) {
	t.Helper()
	fd, err := unix.PidfdOpen(c.pid(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); err != nil {
		t.Fatal(err)
	}
}

const webManifest = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: test/standin:1
    ports: [{containerPort: 80}]
    readinessProbe: {httpGet: {path: /ready, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: %d}]}
`

func page(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestCrashLeavesContainersServing kills skiff with SIGKILL: its pods go on
// answering, and the next start adopts them as they are. The same for an orderly
// stop that leaves containers alone.
func TestCrashLeavesContainersServing(t *testing.T) {
	c := own(t)
	c.apply(t, fmt.Sprintf(webManifest, 31701))
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s"))
	const identity = `jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt} {.status.podIP}`
	before := must(t)(c.kubectl("get", "pod", "web", "-o", identity))
	url := fmt.Sprintf("http://%s:31701/", c.nodeIP)

	c.kill(t)
	if got := page(t, url); !strings.HasPrefix(got, "web ") {
		t.Errorf("after kill -9 the page is %q", got)
	}
	must(t)(c.up())
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s"))
	if after := must(t)(c.kubectl("get", "pod", "web", "-o", identity)); after != before {
		t.Errorf("the pod was %q and is %q", before, after)
	}
	if got := page(t, url); !strings.HasPrefix(got, "web ") {
		t.Errorf("after the next start the page is %q", got)
	}
	if got := must(t)(c.kubectl("logs", "web")); !strings.Contains(got, "serving 80") {
		t.Errorf("the log is %q", got)
	}
	if got := must(t)(c.kubectl("exec", "web", "--", "hostname")); got != "web\n" {
		t.Errorf("exec says %q", got)
	}
}

// TestInstancesSideBySide: two instances on one machine do not touch each other,
// and one that is reset leaves no trace while the other serves on.
func TestInstancesSideBySide(t *testing.T) {
	a := own(t)
	b, err := startCluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a.apply(t, fmt.Sprintf(webManifest, 31702))
	b.apply(t, fmt.Sprintf(webManifest, 31703))
	for _, c := range []*cluster{a, b} {
		must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s"))
	}
	ipA := must(t)(a.kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}"))
	ipB := must(t)(b.kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}"))
	if ipA == ipB || ipA == "" {
		t.Errorf("pods of two instances have the addresses %q and %q", ipA, ipB)
	}
	if err := b.reset(); err != nil {
		t.Fatal(err)
	}
	if got := page(t, fmt.Sprintf("http://%s:31702/", a.nodeIP)); !strings.HasPrefix(got, "web ") {
		t.Errorf("after the other's reset the page is %q", got)
	}
	must(t)(a.kubectl("delete", "pod", "web", "--grace-period=0", "--force"))
	noTraces(t, b)
	if err := a.reset(); err != nil {
		t.Fatal(err)
	}
	noTraces(t, a)
}

// TestStartErrors: what is wrong and what to do, and nothing half made.
func TestStartErrors(t *testing.T) {
	c := own(t)
	before := traces(t, c)
	busy := strings.TrimPrefix(c.flags[1], "0.0.0.0")
	pods := must(t)(c.kubectl("get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDR}"))
	for _, test := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"port taken", []string{"--listen", "0.0.0.0" + busy}, []string{"in use by another program", "give another port with --listen"}},
		{"node port taken", []string{"--node-listen", "0.0.0.0" + busy}, []string{"in use by another program", "give another port with --node-listen"}},
		{"not an address of this machine", []string{"--listen", "192.0.2.250:7443"}, []string{"cannot listen", "address of this machine"}},
		{"data directory in use", []string{"--data-dir", c.data}, []string{"in use by process", "skiff down --data-dir"}},
		{"run directory in use", []string{"--run-dir", c.run}, []string{"in use by process", "--run-dir"}},
		{"pods overlap services", []string{"--pod-cidr=10.0.0.0/8", "--service-cidr=10.96.0.0/16"}, []string{"overlap"}},
		{"range in use", []string{"--pod-cidr=" + pods}, []string{pods, "in use", "give a range that nothing on this machine uses"}},
		{"no range", []string{"--pod-cidr=10.1.2.3"}, []string{"not a range", "write it like"}},
		{"bad node name", []string{"--node-name=Not_A_Name"}, []string{"cannot be a node's name", "--node-name"}},
		{"bad log level", []string{"--log-level=loud"}, []string{"--log-level=loud", "debug, info, warn or error"}},
		{"bad node ports", []string{"--node-ports=9-1"}, []string{"not a range of ports", "30000-32767"}},
		{"no such runtime", []string{"--runtime=/nonexistent/runtime"}, []string{"/nonexistent/runtime"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			failing, err := newCluster(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			out, err := failing.skiff(append([]string{"up", "--detach", "--listen", "127.0.0.1:0"}, test.flags...)...)
			if err == nil {
				t.Fatalf("started:\n%s", out)
			}
			for _, w := range test.want {
				if !strings.Contains(out, w) {
					t.Errorf("the message lacks %q:\n%s", w, out)
				}
			}
			noTraces(t, failing)
		})
	}
	if left := traces(t, c).without(before); len(left) > 0 {
		t.Errorf("failed starts left:\n%s", strings.Join(left, "\n"))
	}
}

// TestFullDisk: writes fail while the disk under the store is full; what was
// acknowledged stays, and writing goes on when there is room again.
func TestFullDisk(t *testing.T) {
	dir, data := smallDisk(t, "512m")
	c := ownIn(t, dir)
	must(t)(c.kubectl("create", "configmap", "before", "--from-literal=a=b"))
	ballast := filepath.Join(data, "ballast")
	fill(t, ballast)
	big := strings.Repeat("x", 100<<10)
	acknowledged, refused := []string{"before"}, ""
	for i := 0; i < 200 && refused == ""; i++ {
		name := fmt.Sprintf("fill-%d", i)
		out, err := c.kubectl("create", "configmap", name, "--from-literal=a="+big)
		if err != nil {
			refused = out
		} else {
			acknowledged = append(acknowledged, name)
		}
	}
	if !strings.Contains(refused, "no space left") {
		t.Errorf("a full disk gives %q", refused)
	}
	must(t)(c.kubectl("get", "configmaps"))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := c.kubectl("create", "configmap", "after", "--from-literal=a=b")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with room again: %s", out)
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.kill(t)
	must(t)(c.up())
	for _, name := range append(acknowledged, "after") {
		must(t)(c.kubectl("get", "configmap", name))
	}
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
