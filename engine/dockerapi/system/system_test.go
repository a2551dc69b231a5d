package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// server is the area alone, behind the door.
func server(t *testing.T, o Options) (*httptest.Server, *event.Hub) {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	o.Events, o.Version, o.Runtime, o.CgroupVersion = new(event.Hub), "9", "runc", 1
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(dockerapi.New(dockerapi.Options{Areas: func(context.Context) ([]dockerapi.Area, error) { return []dockerapi.Area{a}, nil }}))
	t.Cleanup(s.Close)
	return s, o.Events
}

func get(t *testing.T, at string, into any) *http.Response {
	t.Helper()
	res, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := into.(*string); ok {
		*s = strings.TrimSpace(string(b))
	} else if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return res
}

func TestPingAndVersion(t *testing.T) {
	s, _ := server(t, Options{})
	var text string
	res := get(t, s.URL+"/_ping", &text)
	if text != "OK" || res.Header.Get("Builder-Version") != "2" || res.Header.Get("Swarm") != "inactive" {
		t.Errorf("%s %v", text, res.Header)
	}
	var v struct {
		ApiVersion, MinAPIVersion string //nolint:staticcheck // as the API spells it
		Components                []struct{ Name string }
	}
	get(t, s.URL+"/version", &v)
	if v.ApiVersion != route.Version || v.MinAPIVersion != route.MinVersion || v.Components[0].Name != "Engine" {
		t.Errorf("%+v", v)
	}
}

// TestInfo asks in old and new versions, and again with another process.
func TestInfo(t *testing.T) {
	root := t.TempDir()
	s, _ := server(t, Options{Root: root})
	had := func(version string) map[string]any {
		m := map[string]any{}
		get(t, s.URL+"/"+version+"/info", &m)
		return m
	}
	now, old := had("v1.50"), had("v1.40")
	for name, in := range map[string][2]bool{
		"FirewallBackend": {true, false}, "Containerd": {true, false}, "BridgeNfIptables": {false, true}, "DockerRootDir": {true, true},
	} {
		_, n := now[name]
		_, o := old[name]
		if n != in[0] || o != in[1] {
			t.Errorf("%s: %v and %v", name, n, o)
		}
	}
	if c := fmt.Sprint(old["RuncCommit"]); c != "map[Expected:N/A ID:N/A]" {
		t.Error(c)
	}
	if c := fmt.Sprint(now["RuncCommit"]); c != "map[ID:N/A]" {
		t.Error(c)
	}
	again, _ := server(t, Options{Root: root})
	m := map[string]any{}
	get(t, again.URL+"/info", &m)
	if m["ID"] != now["ID"] || m["ID"] == "" {
		t.Errorf("%v became %v", now["ID"], m["ID"])
	}
}

func TestMasked(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://user:secret@proxy:3128")
	if got := masked("HTTP_PROXY"); strings.Contains(got, "secret") || !strings.Contains(got, "proxy:3128") {
		t.Error(got)
	}
}

func TestMachine(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"usr/lib/os-release":               "NAME=x\nPRETTY_NAME=\"Some Linux 9\"\nVERSION_ID='9'\n",
		"proc/meminfo":                     "MemTotal:  2048 kB\nMemFree: 1 kB\n",
		"sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
		"proc/sys/net/ipv4/ip_forward":     "1\n",
	} {
		at := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := machine{root}
	if name, version := m.system(); name != "Some Linux 9" || version != "9" {
		t.Error(name, version)
	}
	if m.memory() != 2048*1024 || !m.forwards() || m.apparmor() {
		t.Error(m.memory(), m.forwards(), m.apparmor())
	}
	if l := m.limits(2); !l.memory || !l.pids || l.cpuset || l.throttle {
		t.Errorf("%+v", l)
	}
}

func TestPrograms(t *testing.T) {
	if n, v, c := parseRuntime("crun version 1.8.1\ncommit: f8a0\nrundir: /run/crun\n"); n != "crun" || v != "1.8.1" || c != "f8a0" {
		t.Error(n, v, c)
	}
	if v, c := parseInit("tini version 0.19.0 - git.de40ad0"); v != "0.19.0" || c != "de40ad0" {
		t.Error(v, c)
	}
	if v, c := parseInit(""); v != "" || c != unknown {
		t.Error(v, c)
	}
}

type twoImages struct{}

func (twoImages) Count(context.Context) (int, error) { return 2, nil }

func (twoImages) Usage(_ context.Context, items bool) (*image.DiskUsage, error) {
	u := &image.DiskUsage{TotalCount: 2, TotalSize: 10}
	if items {
		u.Items = []image.Summary{{ID: "sha256:a", Size: 4}}
	}
	return u, nil
}

func TestDiskUsage(t *testing.T) {
	s, _ := server(t, Options{Images: twoImages{}})
	for path, want := range map[string]string{
		"/v1.50/system/df":                            "BuildCache Containers Images LayersSize Volumes",
		"/v1.50/system/df?type=volume":                "Volumes",
		"/v1.50/system/df?type=container&type=image":  "Containers Images LayersSize",
		"/v1.41/system/df?type=bogus":                 "BuildCache Containers Images LayersSize Volumes",
		"/v1.56/system/df":                            "BuildCache BuildCacheUsage ContainerUsage Containers ImageUsage Images LayersSize VolumeUsage Volumes",
		"/v1.56/system/df?type=build-cache&verbose=1": "BuildCacheUsage",
		"/v1.56/system/df?type=image&verbose=0":       "ImageUsage Images LayersSize",
		"/v1.50/system/df?type=bogus":                 "message",
	} {
		m := map[string]any{}
		get(t, s.URL+path, &m)
		var names []string
		for k := range m {
			names = append(names, k)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	var old struct {
		Images []struct{ VirtualSize *int64 }
	}
	get(t, s.URL+"/v1.43/system/df", &old)
	if len(old.Images) != 1 || old.Images[0].VirtualSize == nil || *old.Images[0].VirtualSize != 4 {
		t.Errorf("%+v", old)
	}
}

// TestEvents reads what was, what comes, and what a filter leaves.
func TestEvents(t *testing.T) {
	ask := "/events?since=1&filters=" + url.QueryEscape(`{"container":["past","coming"],"label":["k=v"],"image":["busybox"]}`)
	for version, want := range map[string]struct{ kind, first string }{
		"":       {"application/jsonl", `{"Type":"container","Action":"start","Actor":{"ID":"id-past"`},
		"/v1.50": {"application/json", `{"Type":"container","Action":"start","Actor":{"ID":"id-past"`},
	} {
		s, hub := server(t, Options{})
		publish := func(name string) {
			hub.Publish(events.ContainerEventType, "start", "id-"+name, map[string]string{"name": name, "image": "busybox:1", "k": "v"})
		}
		publish("past")
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+version+ask, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if kind := res.Header.Get("Content-Type"); kind != want.kind {
			t.Errorf("%s is %s", version, kind)
		}
		lines := bufio.NewScanner(res.Body)
		next := func() string {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			return lines.Text()
		}
		got := next()
		if !strings.HasPrefix(got, want.first) || strings.Contains(got, `"from":"busybox:1"`) != (version != "") {
			t.Errorf("%s: %s", version, got)
		}
		publish("other")
		publish("coming")
		for got = next(); !strings.Contains(got, "id-coming"); got = next() {
			t.Errorf("%s: %s", version, got)
		}
		cancel()
		res.Body.Close()
	}
	s, hub := server(t, Options{})
	hub.Publish(events.VolumeEventType, "create", "id-past", nil)
	var text string
	get(t, s.URL+"/events?until=2", &text)
	if text != "" {
		t.Errorf("before it began there was %s", text)
	}
	until := fmt.Sprintf("%.9f", float64(time.Now().UnixNano())/1e9+0.05)
	get(t, s.URL+"/events?since=1&until="+until, &text)
	if !strings.Contains(text, "id-past") {
		t.Errorf("until the end there was %s", text)
	}
	for path, want := range map[string]string{
		"/events?since=x":         `{"message":"invalid value for 'since': invalid timestamp \"x\": invalid seconds \"x\": invalid syntax"}`,
		"/events?until=1.x":       `{"message":"invalid value for 'until': invalid timestamp \"1.x\": invalid nanoseconds: invalid character 'x' at position 0"}`,
		"/events?since=2&until=1": "{\"message\":\"`since` time (2) cannot be after `until` time (1)\"}",
		"/events?filters=x":       `{"message":"invalid filter"}`,
	} {
		if res := get(t, s.URL+path, &text); res.StatusCode != 400 || text != want {
			t.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
	}
}

func TestMatches(t *testing.T) {
	m := func(kind events.Type, action events.Action, id string, attributes ...string) *events.Message {
		a := map[string]string{}
		for i := 0; i < len(attributes); i += 2 {
			a[attributes[i]] = attributes[i+1]
		}
		return &events.Message{Type: kind, Action: action, Scope: "local", Actor: events.Actor{ID: id, Attributes: a}}
	}
	start := m("container", "start", "abcdef", "name", "web", "image", "registry:5000/nginx:1", "tier", "front")
	health := m("container", "health_status: healthy", "abcdef", "name", "web")
	pull := m("image", "pull", "busybox:1", "name", "busybox:1")
	for _, c := range []struct {
		filter string
		m      *events.Message
		want   bool
	}{
		{`{}`, start, true},
		{`{"type":["container"]}`, start, true},
		{`{"type":["image"]}`, start, false},
		{`{"event":["start"]}`, start, true},
		{`{"event":["star"]}`, start, false},
		{`{"event":["health_status"]}`, health, true},
		{`{"event":["health_status: healthy"]}`, health, true},
		{`{"event":["start"]}`, health, false},
		{`{"container":["abc"]}`, start, true},
		{`{"container":["we"]}`, start, true},
		{`{"container":["x"]}`, start, false},
		{`{"volume":["x"]}`, start, false},
		{`{"image":["registry:5000/nginx"]}`, start, true},
		{`{"image":["registry:5000/nginx:1"]}`, start, true},
		{`{"image":["nginx"]}`, start, false},
		{`{"image":["busybox"]}`, pull, true},
		{`{"label":["tier=front"]}`, start, true},
		{`{"label":["tier=back"]}`, start, false},
		{`{"scope":["swarm"]}`, start, false},
		{`{"type":["container","image"],"event":["pull","start"]}`, pull, true},
	} {
		f, err := filters.Parse(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := matches(f, c.m); got != c.want {
			t.Errorf("%s of %s %s: %v", c.filter, c.m.Type, c.m.Action, got)
		}
	}
}

func TestMediaType(t *testing.T) {
	for _, c := range [][3]string{
		{"1.56", "", "application/jsonl"}, {"1.50", "", "application/json"}, {"1.56", "*/*", "application/jsonl"},
		{"1.50", "application/json-seq", "application/json-seq"},
		{"1.56", "application/x-ndjson;q=0.5, application/json-seq;q=0.4", "application/x-ndjson"},
		{"1.56", "application/x-ndjson;q=0", "application/jsonl"},
	} {
		r := httptest.NewRequest("GET", "/events", nil)
		if c[1] != "" {
			r.Header.Set("Accept", c[1])
		}
		if got := mediaType(route.NewRequest(r, c[0], "", "")); got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}

// tokens is a registry with a server of tokens beside it.
func tokens(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	var s *httptest.Server
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Add("Www-Authenticate", `Basic realm="x"`)
			w.Header().Add("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="the \"one\""`, s.URL))
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("service") != `the "one"` {
			t.Errorf("asked for %s", r.FormValue("service"))
		}
		user, password, _ := r.BasicAuth()
		switch {
		case r.Method == http.MethodPost && r.FormValue("refresh_token") == "stays":
			io.WriteString(w, `{"access_token":"good"}`)
		case user == "user" && password == "secret":
			io.WriteString(w, `{"token":"good","refresh_token":"stays"}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"details":"incorrect username or password"}`)
		}
	})
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestLogin(t *testing.T) {
	basic := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "user" || p != "secret" {
			w.Header().Set("Www-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer basic.Close()
	bearer := tokens(t)
	s, _ := server(t, Options{Registries: &Hosts{}})
	for _, c := range []struct {
		auth   registry.AuthConfig
		status int
		want   string
	}{
		{registry.AuthConfig{Username: "user", Password: "secret", ServerAddress: basic.Listener.Addr().String()}, 200, `{"Status":"Login Succeeded"}`},
		{registry.AuthConfig{Username: "user", Password: "wrong", ServerAddress: basic.URL}, 500, `{"message":"login attempt to ` + basic.URL + `/v2/ failed with status: 401 Unauthorized"}`},
		{registry.AuthConfig{ServerAddress: basic.URL}, 500, `{"message":"Get \"` + basic.URL + `/v2/\": no basic auth credentials"}`},
		{registry.AuthConfig{Username: "user", Password: "secret", ServerAddress: bearer.URL}, 200, `{"IdentityToken":"stays","Status":"Login Succeeded"}`},
		{registry.AuthConfig{IdentityToken: "stays", ServerAddress: bearer.URL}, 200, `{"IdentityToken":"stays","Status":"Login Succeeded"}`},
		{registry.AuthConfig{Username: "user", Password: "wrong", ServerAddress: bearer.URL}, 401, `{"message":"Get \"` + bearer.URL + `/v2/\": unauthorized: incorrect username or password"}`},
		{registry.AuthConfig{ServerAddress: "127.0.0.1:1"}, 500, `{"message":"Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"}`},
		{registry.AuthConfig{ServerAddress: "http://[bad"}, 400, `{"message":"unable to parse server address: parse \"http://[bad\": missing ']' in host"}`},
	} {
		b, err := json.Marshal(&c.auth)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.Post(s.URL+"/auth", "application/json", strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || strings.TrimSpace(string(got)) != c.want {
			t.Errorf("%+v: %d %s %v", c.auth, res.StatusCode, got, err)
		}
	}
}

func TestInsecure(t *testing.T) {
	h := &Hosts{Insecure: []string{"10.1.0.0/16", "plain:5000"}}
	for host, want := range map[string]bool{
		"127.0.0.1:5000": true, "[::1]:5000": true, "localhost": true, "10.1.2.3": true, "10.2.0.1": false, "plain:5000": true, hub: false,
	} {
		if got := h.insecure(context.Background(), host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://x/token",service="y"`, `Basic`, `Bearer a=b, c="\""`, `x =`, `Bearer a="`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := choose([]string{s}); ok && c.scheme != "bearer" && c.scheme != "basic" {
			t.Errorf("%q is %v", s, c)
		}
	})
}
