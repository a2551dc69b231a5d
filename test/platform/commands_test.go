package platform

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// laterCommands are the headings of COMMANDS.md whose lines need what is not built
// yet, with what that is.
var laterCommands = map[string]string{
	"## cluster": "names of other programs for skiff's own verbs; joining machines",
	"## helm":    "releases",
}

// TestCourseCommands plays the kubectl and docker lines that courses show, as they stand, on
// an instance of its own, and holds the script against the list of them: each line
// of the list is in the script, or under a heading that is for later, by name.
func TestCourseCommands(t *testing.T) {
	needRoot(t)
	t.Run("list", func(t *testing.T) {
		list := sharedFile(t, "COMMANDS.md")
		var scripts []string
		for _, pattern := range []string{"testdata/courses/*.txtar", "testdata/courses/docker/*.txtar"} {
			some, err := filepath.Glob(pattern)
			if err != nil || len(some) == 0 {
				t.Fatal("no scripts", err)
			}
			scripts = append(scripts, some...)
		}
		var played []string
		for _, path := range scripts {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(script)) {
				if l, ok := strings.CutPrefix(line, "#: "); ok {
					played = append(played, strings.TrimSpace(l))
				}
			}
		}
		heading, code := "", false
		for line := range strings.Lines(list) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "## "):
				heading = line
			case strings.HasPrefix(line, "```"):
				code = !code
			case !code || line == "":
			case laterCommands[heading] != "":
			case slices.Contains(played, line):
				played = slices.DeleteFunc(played, func(p string) bool { return p == line })
			default:
				t.Errorf("under %q, not played: %s", heading, line)
			}
		}
		for _, p := range played {
			t.Errorf("played, but in no list: %s", p)
		}
	})
	registry := localhost(t)
	c := own(t, "--registry", registry, "--registry-mirror", "http://"+registry)
	t.Run("kubectl", func(t *testing.T) { runScripts(t, c, scripts(t, "testdata/courses")...) })
	// The scripts of docker take all containers for theirs: one after the other.
	for _, client := range []string{"skiff", "docker"} {
		c := *c
		c.vars = map[string]string{"CLIENT": client, "REGISTRY": registry, "HUB": newHub(t), "PORT": port(t), "DBPORT": port(t)}
		if client == "docker" {
			if _, err := exec.LookPath("docker"); err != nil {
				t.Skip("needs the docker client: make test-deps")
			}
			c.vars["CLIENT_HOST"] = "unix://" + filepath.Join(c.run, "docker.sock")
		}
		for _, dir := range []string{"docker", "roar"} {
			t.Run(dir+" by "+client, func(t *testing.T) { runScripts(t, &c, scripts(t, "testdata/courses/"+dir)...) })
		}
	}
}

func port(t *testing.T) string {
	t.Helper()
	p, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(p)
}

func localhost(t *testing.T) string { return "localhost:" + port(t) }

// newHub stands for docker's hub as far as login and search go, and returns its
// address.
func newHub(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != "course" || secret != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/v1/search", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"query":%q,"num_results":1,"results":[{"name":"course/roar","description":"an application","star_count":7}]}`, r.FormValue("q"))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
