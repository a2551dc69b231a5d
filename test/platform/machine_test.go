package platform

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
