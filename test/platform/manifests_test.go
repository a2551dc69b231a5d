package platform

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
		if out, err := c.kubectl("apply", "-f", f); err != nil {
			t.Errorf("%s: %s", strings.TrimPrefix(f, root), out)
		}
	}
	for _, ns := range []string{"helloworld", "shoppingportal", "shoppingportal-hpa", "roar", "default"} {
		names := strings.Fields(must(t)(c.kubectl("get", "deployments", "-n", ns, "-o", "name")))
		for _, name := range names {
			if out, err := c.kubectl("rollout", "status", name, "-n", ns, "--timeout=90s"); err != nil {
				pods, _ := c.kubectl("get", "pods", "-n", ns, "-o", "wide")
				t.Errorf("%s in %s: %s\n%s", name, ns, out, pods)
			}
		}
	}
	for port, want := range map[string]string{"31790": "roar-web"} {
		if got := page(t, "http://"+c.nodeIP+":"+port+"/"); !strings.Contains(got, want) {
			t.Errorf("node port %s says %q", port, got)
		}
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
