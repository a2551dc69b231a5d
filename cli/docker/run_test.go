package docker

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config"
	"github.com/spf13/pflag"
)

// engine is a Docker API of few words: every list is empty but for the engine's
// name, and there is no swarm.
func engine(t *testing.T, name string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, status int, body any) {
		w.Header().Set("Api-Version", "1.56")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			t.Error(err)
		}
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
		case strings.HasSuffix(r.URL.Path, "_ping"):
			answer(w, http.StatusOK, "OK")
		case path == "volumes":
			answer(w, http.StatusOK, map[string]any{"Volumes": []map[string]string{{"Name": name, "Driver": "local"}}})
		case path == "services":
			answer(w, http.StatusServiceUnavailable, map[string]string{"message": "This node is not a swarm manager."})
		default:
			answer(w, http.StatusNotFound, map[string]string{"message": "nothing at " + r.URL.Path})
		}
	})}
	go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	t.Cleanup(func() { srv.Close() })
	return socket
}

// at is the instance whose run directory is a flag.
type at struct{ dir string }

func (a *at) AddFlags(fs *pflag.FlagSet) { fs.StringVar(&a.dir, "run-dir", a.dir, "") }

func (a *at) DockerSocket(*pflag.FlagSet) (string, error) {
	return filepath.Join(a.dir, "docker.sock"), nil
}

// configured gives docker's client a directory of its own.
func configured(t *testing.T) string {
	t.Helper()
	dir, was := t.TempDir(), config.Dir()
	config.SetDir(dir)
	t.Cleanup(func() { config.SetDir(was) })
	return dir
}

// execute runs a docker command as a user would and returns what it prints.
func execute(t *testing.T, o Options) (out string, code int) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdout, stderr, args := os.Stdout, os.Stderr, os.Args
	os.Stdout, os.Stderr = file, file
	defer func() { os.Stdout, os.Stderr, os.Args = stdout, stderr, args }()
	code = Run(context.Background(), o)
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), code
}

// TestEngine: which engine a command meets.
func TestEngine(t *testing.T) {
	configured(t)
	for _, name := range []string{"DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"} {
		t.Setenv(name, "")
	}
	own, second, other := engine(t, "own"), engine(t, "second"), engine(t, "other")
	list := []string{"volume", "ls", "-q"}
	for _, test := range []struct {
		what, host string
		only       bool
		args       []string
		want       string
	}{
		{"docker", "", false, list, "own"},
		{"docker with DOCKER_HOST", other, false, list, "other"},
		{"docker -H", other, false, append([]string{"-H", "unix://" + second}, list...), "second"},
		{"docker with the flag of an instance", "", false, append(list, "--run-dir", filepath.Dir(second)), "second"},
		{"the flag before the command", "", false, append([]string{"--run-dir", filepath.Dir(second)}, list...), "second"},
		{"skiff", "", true, list, "own"},
		{"skiff with DOCKER_HOST", other, true, list, "own"},
		{"skiff with the flag of an instance", other, true, append(list, "--run-dir", filepath.Dir(second)), "second"},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", "")
			if test.host != "" {
				t.Setenv("DOCKER_HOST", "unix://"+test.host)
			}
			out, code := execute(t, Options{Name: "skiff", Args: test.args, Instance: &at{filepath.Dir(own)}, Only: test.only})
			if strings.TrimSpace(out) != test.want || code != 0 {
				t.Errorf("got %q, code %d", out, code)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "")
		if out, code := execute(t, Options{Name: "docker", Args: []string{"context", "create", "far", "--docker", "host=unix://" + other}, Instance: &at{filepath.Dir(own)}}); code != 0 {
			t.Fatal(out)
		}
		t.Setenv("DOCKER_CONTEXT", "far")
		for only, want := range map[bool]string{false: "other", true: "own"} {
			if out, code := execute(t, Options{Name: "skiff", Args: list, Instance: &at{filepath.Dir(own)}, Only: only}); strings.TrimSpace(out) != want || code != 0 {
				t.Errorf("only %v: got %q, code %d", only, out, code)
			}
		}
	})
}

func TestEndings(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	socket := engine(t, "own")
	plugins := filepath.Join(configured(t), "cli-plugins")
	if err := os.Mkdir(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
[ "$1" = docker-cli-plugin-metadata ] && { echo '{"SchemaVersion":"0.1.0","Vendor":"me"}'; exit; }
echo "$DOCKER_HOST" "$@"; exit 7
`
	if err := os.WriteFile(filepath.Join(plugins, "docker-mine"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nonsense"}, 1, "docker: unknown command: docker nonsense"},
		{[]string{"run", "--nonsense"}, 125, "unknown flag: --nonsense"},
		{[]string{"inspect", "nobody"}, 1, "no such object: nobody"},
		{[]string{"service", "ls"}, 1, "Error response from daemon: This node is not a swarm manager."},
		{[]string{"stack", "deploy", "-c", "x.yml", "x"}, 1, "Error response from daemon: This node is not a swarm manager."},
		{[]string{"mine", "a", "--b"}, 7, "unix://" + socket + " mine a --b"},
		{[]string{"--version"}, 0, "Docker version " + libraryVersion},
	} {
		out, code := execute(t, Options{Name: "docker", Args: test.args, Instance: &at{filepath.Dir(socket)}})
		if code != test.code || !strings.Contains(out, test.want) {
			t.Errorf("%s: code %d, %s", test.args, code, out)
		}
	}
}
