package platform

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// courseFolders are below shared/manifests.
var courseFolders = []string{
	"workshop/yaml/k8s-1-Basic",
	"workshop/yaml/k8s-2-App-setup",
	"workshop/yaml/k8s-4-Advanced/external-services",
	"roar/roar-k8s",
}

// TestCourseManifests applies real course material, unmodified, in the order of
// its names. Deployments become available and bare pods Ready or Completed, with
// stand-ins in place of the courses' images.
func TestCourseManifests(t *testing.T) {
	root := sharedDir(t, "manifests")
	c := own(t)
	for _, ns := range []string{"helloworld", "shoppingportal", "shoppingportal-hpa", "roar"} {
		must(t)(c.kubectl("create", "namespace", ns))
	}
	var files []string
	for _, dir := range courseFolders {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(files)
	for _, f := range files {
		args := []string{"apply", "-f", f}
		if strings.Contains(f, "/roar-k8s/") {
			args = append(args, "-n", "roar") // half of its files do not say so
		}
		if out, err := c.kubectl(args...); err != nil {
			t.Errorf("%s: %s", strings.TrimPrefix(f, root), out)
		}
	}
	for _, ns := range courseNamespaces {
		names := strings.Fields(must(t)(c.kubectl("get", "deployments", "-n", ns, "-o", "name")))
		for _, name := range names {
			if out, err := c.kubectl("rollout", "status", name, "-n", ns, "--timeout=90s"); err != nil {
				pods, _ := c.kubectl("get", "pods", "-n", ns, "-o", "wide")
				t.Errorf("%s in %s: %s\n%s", name, ns, out, pods)
			}
		}
	}
	podsEnd(t, c)
	servicesAnswer(t, c)
}

// courseNamespaces are those that the course material uses.
var courseNamespaces = []string{"helloworld", "shoppingportal", "shoppingportal-hpa", "roar", "default"}

// podsEnd waits until every pod is Ready or has done its work.
func podsEnd(t *testing.T, c *cluster) {
	for _, ns := range courseNamespaces {
		for _, pod := range strings.Fields(must(t)(c.kubectl("get", "pods", "-n", ns, "-o", "name"))) {
			var state string
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				state = must(t)(c.kubectl("get", "-n", ns, pod, "-o", `jsonpath={.status.phase} {.status.conditions[?(@.type=="Ready")].status}`))
				if state == "Running True" || state == "Succeeded False" {
					break
				}
			}
			if state != "Running True" && state != "Succeeded False" {
				out, _ := c.kubectl("describe", "-n", ns, pod)
				t.Errorf("%s in %s is %s\n%s", pod, ns, state, out)
			}
		}
	}
}

// servicesAnswer asks each service that has pods: a client pod by the service's name,
// and the machine by the node port.
func servicesAnswer(t *testing.T, c *cluster) {
	must(t)(c.kubectl("run", "client", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sleep", "3600"))
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=30s"))
	asked, nodePorts := 0, 0
	for _, ns := range courseNamespaces {
		lines := must(t)(c.kubectl("get", "services", "-n", ns, "-o",
			`jsonpath={range .items[?(@.spec.selector)]}{.metadata.name} {.spec.ports[0].port} {.spec.ports[0].nodePort}{"\n"}{end}`))
		for line := range strings.Lines(lines) {
			f := strings.Fields(line)
			pods := must(t)(c.kubectl("get", "endpointslices", "-n", ns, "-l", "kubernetes.io/service-name="+f[0], "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}"))
			if strings.TrimSpace(pods) == "" {
				t.Logf("%s in %s selects no pod of the course", f[0], ns)
				continue
			}
			asked++
			url := "http://" + f[0] + "." + ns + ":" + f[1] + "/"
			if out, err := c.kubectl("exec", "client", "--", "standin", "get", url); err != nil || !strings.Contains(out, " from ") {
				t.Errorf("%s: %v", url, err)
			}
			if len(f) == 3 {
				nodePorts++
				if got := page(t, "http://"+c.nodeIP+":"+f[2]+"/"); !strings.Contains(got, " from ") {
					t.Errorf("%s in %s: node port %s says %q", f[0], ns, f[2], got)
				}
			}
		}
	}
	t.Logf("%d services answer, %d of them on node ports", asked, nodePorts)
	if asked < 5 || nodePorts < 3 {
		t.Errorf("only %d services and %d node ports were there to be asked", asked, nodePorts)
	}
	if got := page(t, "http://"+c.nodeIP+":31790/"); !strings.Contains(got, "roar-web") {
		t.Errorf("node port 31790 says %q", got)
	}
	// A service without a selector gets what its Endpoints say.
	got := must(t)(c.kubectl("get", "endpointslices", "-n", "helloworld", "-l", "kubernetes.io/service-name=mysql-without-container", "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}"))
	if got != "1.2.3.4" {
		t.Errorf("the service without a selector has the endpoints %q", got)
	}
}

// sharedDir finds a folder of material that lies beside the repository and that
// the product does not need.
func sharedDir(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("SKIFF_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs the course material beside the repository (SKIFF_SHARED): %v", err)
	}
	return path
}
