package platform

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestOCIRuntimes: skiff takes what the machine has, and says what to install where
// there is nothing.
func TestOCIRuntimes(t *testing.T) {
	needRoot(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc beside crun: ./install runc")
	}
	if _, err := imageArchive(); err != nil { // while there is a Go toolchain in PATH
		t.Fatal(err)
	}
	path := t.TempDir()
	none := begin(t)
	t.Setenv("PATH", path)
	out, err := none.up()
	if err == nil || !strings.Contains(out, "neither crun nor runc") || !strings.Contains(out, "apt-get install crun") {
		t.Errorf("without a runtime: %v\n%s", err, out)
	}
	noTraces(t, none)
	if err := os.Symlink(runc, filepath.Join(path, "runc")); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"--runtime", "runc"}, {"--runtime", runc}} {
		c := begin(t, flags...)
		must(t)(c.up())
		if out := must(t)(c.skiff("status")); !strings.Contains(out, "runc") {
			t.Errorf("status says\n%s", out)
		}
		c.load(t)
		c.apply(t, fmt.Sprintf(webManifest, 31720))
		must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s"))
		if got := must(t)(c.kubectl("exec", "web", "--", "hostname")); got != "web\n" {
			t.Errorf("exec says %q", got)
		}
		if err := c.reset(); err != nil {
			t.Error(err)
		}
		noTraces(t, c)
	}
}

// TestSideBySideWithDefaults: two instances that were given directories and a port
// alone have pods, services, node ports and DNS of their own.
func TestSideBySideWithDefaults(t *testing.T) {
	const probe = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: test/standin:1, command: [sleep, "3600"]}]
`
	a, b := own(t), own(t)
	for i, c := range []*cluster{a, b} {
		c.apply(t, probe)
		c.apply(t, fmt.Sprintf(webManifest, 31730+i))
	}
	for i, c := range []*cluster{a, b} {
		must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/web", "pod/client", "--timeout=30s"))
		ip := must(t)(c.kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}"))
		cluster := must(t)(c.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
		c.eventually(t, "the service answers by its name", func() bool {
			out, err := c.kubectl("exec", "client", "--", "standin", "get", "http://web/")
			return err == nil && strings.HasPrefix(out, "web ")
		})
		if out := must(t)(c.kubectl("exec", "client", "--", "nslookup", "web.default.svc.cluster.local")); !strings.Contains(out, cluster) {
			t.Errorf("DNS says\n%s", out)
		}
		for _, url := range []string{"http://" + ip, "http://" + cluster, fmt.Sprintf("http://%s:%d", c.nodeIP, 31730+i)} {
			if got := page(t, url); !strings.HasPrefix(got, "web ") {
				t.Errorf("%s says %q", url, got)
			}
		}
	}
	services := func(c *cluster) string {
		return must(t)(c.kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"))
	}
	if services(a) == services(b) {
		t.Errorf("both have their services at %s", services(a))
	}
	names := map[string]bool{}
	for _, line := range append(traces(t, a), traces(t, b)...) {
		if names[line] {
			t.Errorf("both have %s", line)
		}
		names[line] = true
	}
}

// TestListenOnLoopback: an API that listens on the machine's loopback is reached
// there, and by pods through its service; on no other address of the machine.
func TestListenOnLoopback(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	c := own(t, "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	c.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: test/standin:1, command: [standin, sleep]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: test/standin:1, command: [standin, sleep]}]
`)
	reach := func() {
		t.Helper()
		must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/pod", "pod/host", "--timeout=30s"))
		for _, pod := range []string{"pod", "host"} {
			for _, url := range []string{"https://kubernetes.default/api", "https://kubernetes.default.svc.cluster.local:443/api"} {
				out := must(t)(c.kubectl("exec", pod, "--", "standin", "ask", url))
				if !strings.Contains(out, `"kind":"APIVersions"`) {
					t.Errorf("%s is told by %s: %s", pod, url, out)
				}
			}
			must(t)(c.kubectl("exec", pod, "--", "standin", "api", "/version"))
		}
	}
	reach()
	for _, closed := range []string{c.nodeIP, "127.0.0.2"} {
		conn, err := net.Dial("tcp", net.JoinHostPort(closed, strconv.Itoa(port)))
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the API answers on %s: %v", closed, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
	c.kill(t)
	must(t)(c.up())
	reach()
	// The same cluster, told to listen on one address of the machine.
	must(t)(c.skiff("down"))
	c.flags = []string{"--listen", fmt.Sprintf("%s:%d", c.nodeIP, port)}
	must(t)(c.up())
	reach()
	if out := must(t)(c.kubectl("get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}")); out != c.nodeIP {
		t.Errorf("listening on %s, the kubernetes service leads to %s", c.nodeIP, out)
	}
}
