package registry_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestConformance runs the OCI distribution conformance suite, a program that make
// test-registry builds (test/conformance/registry), against this registry.
func TestConformance(t *testing.T) {
	program := os.Getenv("OCI_CONFORMANCE")
	if program == "" {
		t.Skip("needs the conformance suite: make test-registry")
	}
	s, _ := open(t, t.TempDir())
	srv := httptest.NewServer(s)
	defer srv.Close()
	dir := t.TempDir()
	cmd := exec.Command(program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+strings.TrimPrefix(srv.URL, "http://"), "OCI_TLS=disabled", "OCI_RESULTS_DIR="+dir, "OCI_VERSION=dev",
		"OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two",
		"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
	)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	junit, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	head, _, _ := strings.Cut(string(junit), ">\n")
	t.Logf("%s", out)
	for _, bad := range []string{"<failure", "<error", "<skipped"} {
		if n := strings.Count(string(junit), bad); n > 0 {
			t.Errorf("%d of %s in\n%s", n, bad, head)
		}
	}
	if !strings.Contains(string(junit), "<testcase") {
		t.Errorf("no tests ran: %s", junit)
	}
}
