package platform

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnRegistry pushes an image by the docker client to the registry that skiff
// serves itself and runs it in a pod by the registry's name; skopeo reads what docker
// save writes.
func TestOwnRegistry(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("needs the docker client (apt-get install docker.io)")
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", port)
	c, err := startCluster(t.TempDir(), "--registry", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.reset(); err != nil {
			t.Error(err)
		}
	})
	docker := func(want string, args ...string) {
		t.Helper()
		cmd := exec.Command("docker", append([]string{"--host", "unix://" + filepath.Join(c.run, "docker.sock")}, args...)...)
		cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if failed := strings.HasPrefix(want, "!"); failed != (err != nil) || !strings.Contains(string(out), strings.TrimPrefix(want, "!")) {
			t.Errorf("docker %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	image := host + "/team/web:v1"
	docker("", "tag", "busybox", image)
	docker("v1: digest: sha256:", "push", image)
	docker("Untagged: "+image, "rmi", image)
	docker("!No such image: "+image, "image", "inspect", image)
	docker("Status: Downloaded newer image for "+image, "pull", image)
	docker("Status: Image is up to date for "+image, "pull", image)
	docker(image, "image", "inspect", "--format", "{{.RepoTags}}", image)
	docker("Untagged: "+image, "rmi", image)
	if full, err := c.kubectl("get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="DiskPressure")].status}`); err != nil || full != "False" {
		t.Logf("no pod is run: the disk of this machine is nearly full (%q, %v)", full, err)
		docker("Status: Downloaded newer image for "+image, "pull", image)
	} else {
		inPod(t, c, image)
		// It is busybox too: one of two names can go.
		docker("Untagged: "+image, "rmi", image)
		docker("Status: Downloaded newer image for "+image, "pull", image)
	}
	docker("IMAGE", "history", image)
	docker("!tag does not exist: "+host+"/none:1", "push", host+"/none:1")
	archive := filepath.Join(t.TempDir(), "saved.tar")
	docker("", "save", "-o", archive, image, "busybox")
	docker("Loaded image: "+image, "load", "-i", archive)
	docker("sha256:", "import", archive, "imported:1")
	imported := filepath.Join(t.TempDir(), "imported.tar")
	docker("", "save", "-o", imported, "imported:1")
	docker("otal reclaimed space", "image", "prune", "--force")
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Log("skopeo is not installed: nobody else reads what docker save wrote")
		return
	}
	for _, source := range []string{"docker-archive:" + archive + ":" + image, "oci-archive:" + imported + ":1"} {
		out, err := exec.Command("skopeo", "--insecure-policy", "copy", source, "dir:"+filepath.Join(t.TempDir(), "copy")).CombinedOutput()
		if err != nil {
			t.Errorf("skopeo copy %s: %v\n%s", source, err, out)
		}
	}
	out, err := exec.Command("skopeo", "list-tags", "--tls-verify=false", "docker://"+host+"/team/web").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"v1"`) {
		t.Errorf("skopeo list-tags: %v\n%s", err, out)
	}
}

// inPod runs an image to its end.
func inPod(t *testing.T, c *cluster, image string) {
	t.Helper()
	if out, err := c.kubectl("run", "web", "--image="+image, "--restart=Never", "--", "sh", "-c", "echo served"); err != nil {
		t.Fatal(err, out)
	}
	if out, err := c.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/web", "--timeout=30s"); err != nil {
		what, _ := c.kubectl("describe", "pod", "web") // only to tell
		t.Fatal(err, out, what)
	}
}
