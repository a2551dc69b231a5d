package platform

import (
	"cmp"
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

// TestCourseManifests applies real course material, unmodified, folder by folder in
// the order of its names, with stand-ins in place of the courses' images. What a file makes runs
// before the next file is applied, which may change it: Deployments roll out,
// ReplicaSets fill, bare pods become Ready or Completed. In the end all still do,
// and services answer.
func TestCourseManifests(t *testing.T) {
	root := sharedDir(t, "manifests")
	c := own(t)
	if _, err := os.Stat(roarData); os.IsNotExist(err) {
		t.Cleanup(func() { _ = os.Remove(roarData) })
	}
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
	slices.SortFunc(files, func(a, b string) int {
		return cmp.Or(strings.Compare(filepath.Dir(a), filepath.Dir(b)), cmp.Compare(needs(a), needs(b)), strings.Compare(a, b))
	})
	for _, f := range files {
		args := []string{"apply", "-f", f}
		if strings.Contains(f, "/roar-k8s/") {
			args = append(args, "-n", "roar") // half of its files do not say so
		}
		out, err := c.kubectl(append(args, "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}{end}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}`)...)
		if err != nil {
			t.Errorf("%s: %s", strings.TrimPrefix(f, root), out)
			continue
		}
		for made := range strings.Lines(out) {
			o := strings.Split(strings.TrimSpace(made), "/")
			if len(o) == 3 && !strings.HasPrefix(made, "Warning: ") {
				runs(t, c, strings.TrimPrefix(f, root), o[0], o[1], o[2])
			}
		}
	}
	podsEnd(t, c)
	servicesAnswer(t, c)
}

// roarData is the path of the machine that roar's PersistentVolume names.
const roarData = "/mnt/data"

// needs orders the files of a folder: first what others refer to.
func needs(file string) int {
	for _, part := range []string{"secret.yaml", "configmap.yaml", "storage.yaml", "-literals.yml"} {
		if strings.HasSuffix(file, part) {
			return 0
		}
	}
	return 1
}

// runs waits for what a file has made, if it is something that runs.
func runs(t *testing.T, c *cluster, file, kind, ns, name string) {
	t.Helper()
	var err error
	switch kind {
	case "Deployment":
		_, err = c.kubectl("rollout", "status", "deployment/"+name, "-n", ns, "--timeout=60s")
	case "ReplicaSet":
		want := must(t)(c.kubectl("get", "rs", name, "-n", ns, "-o", "jsonpath={.spec.replicas}"))
		_, err = c.kubectl("wait", "--for=jsonpath={.status.readyReplicas}="+want, "rs/"+name, "-n", ns, "--timeout=60s")
	case "Pod":
		podEnds(t, c, ns, "pod/"+name)
	case "Namespace", "Service", "Endpoints", "ConfigMap", "Secret", "Ingress", "HorizontalPodAutoscaler", "PersistentVolume", "PersistentVolumeClaim", "List":
	default:
		t.Errorf("%s: nothing is known of %s", file, kind)
	}
	if err != nil {
		pods, _ := c.kubectl("describe", "pods", "-n", ns)
		t.Errorf("%s: %s %s does not run: %v\n%s", file, kind, name, err, pods)
	}
}

// courseNamespaces are those that the course material uses.
var courseNamespaces = []string{"helloworld", "shoppingportal", "shoppingportal-hpa", "roar", "default"}

// podsEnd waits until every pod is Ready or has done its work.
func podsEnd(t *testing.T, c *cluster) {
	for _, ns := range courseNamespaces {
		for _, pod := range strings.Fields(must(t)(c.kubectl("get", "pods", "-n", ns, "-o", "name"))) {
			podEnds(t, c, ns, pod)
		}
	}
}

func podEnds(t *testing.T, c *cluster, ns, pod string) {
	t.Helper()
	var state string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		state = must(t)(c.kubectl("get", "-n", ns, pod, "-o", `jsonpath={.status.phase} {.status.conditions[?(@.type=="Ready")].status}`))
		if state == "Running True" || state == "Succeeded False" {
			return
		}
	}
	out, _ := c.kubectl("describe", "-n", ns, pod)
	t.Errorf("%s in %s is %s\n%s", pod, ns, state, out)
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

// sharedFile reads a file of that material.
func sharedFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(sharedDir(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
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
