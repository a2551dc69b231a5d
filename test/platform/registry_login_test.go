package platform

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// guarded is a registry that wants a password, by TLS with a certificate that nobody
// vouches for, which loopback is allowed.
type guarded struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // "METHOD path" of requests with the password
}

// startEngine starts the engine alone, with a registry, and removes it at the end of
// the test.
func startEngine(t *testing.T) (c *cluster, registry string) {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	registry = fmt.Sprintf("localhost:%d", port)
	if c, err = newCluster(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.reset(); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.skiff("engine", "--detach", "--registry", registry); err != nil {
		t.Fatal(err)
	}
	return c, registry
}

func guard(t *testing.T, port string) *guarded {
	t.Helper()
	g := &guarded{}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: port})
	g.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "user" || p != "right" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		g.mu.Lock()
		g.seen = append(g.seen, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// sent lists what was asked since the last call.
func (g *guarded) sent() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := strings.Join(g.seen, "\n")
	g.seen = nil
	return out
}

// TestRegistryLogin logs in to a registry, with the credentials in a file and in a
// helper, pushes, pulls and logs out, by the docker client and the engine alone.
func TestRegistryLogin(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("needs the docker client (apt-get install docker.io)")
	}
	c, registry := startEngine(t)
	g := guard(t, registry)
	host := strings.TrimPrefix(g.URL, "https://")
	home := t.TempDir()
	docker := func(want string, args ...string) {
		t.Helper()
		cmd := exec.Command("docker", append([]string{"--host", "unix://" + filepath.Join(c.run, "docker.sock")}, args...)...)
		cmd.Env = append(cmd.Environ(), "HOME="+home, "PATH="+home+":"+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader("right\n")
		if want == "!wrong" {
			cmd.Stdin = strings.NewReader("wrong\n")
			want = "!login attempt to https://" + host + "/v2/ failed with status: 401 Unauthorized"
		}
		out, err := cmd.CombinedOutput()
		if failed := strings.HasPrefix(want, "!"); failed != (err != nil) || !strings.Contains(string(out), strings.TrimPrefix(want, "!")) {
			t.Errorf("docker %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	image := host + "/team/web:v1"
	archive, err := imageArchive()
	if err != nil {
		t.Fatal(err)
	}
	docker("Loaded image", "load", "-i", archive)
	docker("", "tag", "busybox", image)
	docker("!no basic auth credentials", "push", image)
	docker("!wrong", "login", "-u", "user", "--password-stdin", host)
	docker("Login Succeeded", "login", "-u", "user", "--password-stdin", host)
	docker("v1: digest: sha256:", "push", image)
	docker("Layer already exists", "push", image)
	g.sent()
	docker("", "tag", "busybox", host+"/other/web:v1")
	docker("Mounted from team/web", "push", host+"/other/web:v1")
	if sent := g.sent(); strings.Contains(sent, "PUT /v2/other/web/blobs/uploads") && strings.Count(sent, "PUT /v2/other/web/blobs/uploads") > 1 {
		t.Errorf("a layer that was mounted is sent:\n%s", sent)
	}
	docker("Untagged: "+image, "rmi", image)
	docker("Downloaded newer image", "pull", image)
	docker("Removing login credentials", "logout", host)
	docker("!no basic auth credentials", "pull", image)

	helper := "#!/bin/sh\ncase $1 in\nget) echo '{\"ServerURL\":\"" + host + "\",\"Username\":\"user\",\"Secret\":\"right\"}';;\nlist) echo '{\"" + host + "\":\"user\"}';;\nesac\n"
	if err := os.WriteFile(filepath.Join(home, "docker-credential-script"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(`{"credsStore":"script"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	docker("Image is up to date for "+image, "pull", image)
	docker("v1: digest: sha256:", "push", image)
	// skiff's own verbs read the same file and helper.
	for _, args := range [][]string{{"pull", image}, {"push", image}} {
		cmd := exec.Command(c.program, append([]string{"--run-dir", c.run, "--data-dir", c.data}, args...)...)
		cmd.Env = append(cmd.Environ(), "HOME="+home, "PATH="+home+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("skiff %v: %v\n%s", args, err, out)
		}
	}
}
