package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/enginetest"
)

// world is an area on engines and networks in memory, with its API.
type world struct {
	*testing.T
	fake *enginetest.Fake
	o    Options
	a    *Area
	api  http.Handler
}

// oneImage has the image "busybox" for every name but "none".
type oneImage struct{ fake *enginetest.Fake }

func (i oneImage) Find(ctx context.Context, ref string, _ *imagespec.Platform) (*Image, error) {
	if ref == "none" {
		return nil, route.NotFoundf("No such image: none:latest")
	}
	img, err := i.fake.Images().Get(ctx, "busybox")
	if err != nil {
		return nil, err
	}
	return &Image{ID: img.ID, EngineID: img.ID, Config: img.Config}, nil
}

// notedMounts remembers mounts in the place of making them.
type notedMounts struct {
	mu  sync.Mutex
	all map[string]string
}

func (m *notedMounts) note(target, what string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[target] = what
	return nil
}

func (m *notedMounts) Layers(l []string, target string) error {
	return m.note(target, strings.Join(l, " "))
}

func (m *notedMounts) Below(root, sub, target string) error {
	return m.note(target, filepath.Join(root, sub))
}

func (m *notedMounts) Clear(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for target := range m.all {
		if strings.HasPrefix(target, dir) {
			delete(m.all, target)
		}
	}
	return nil
}

func newWorld(t *testing.T) *world {
	fake := enginetest.NewFake("busybox")
	w := &world{T: t, fake: fake, o: Options{
		Dir: filepath.Join(t.TempDir(), "docker", "containers"), Engine: fake, Images: oneImage{fake}, Networks: bridge.NewFake(), Events: &event.Hub{},
		Mounter: &notedMounts{all: map[string]string{}}, CgroupVersion: 1, Runtime: "runc",
	}}
	w.open()
	t.Cleanup(func() { w.a.Close() })
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.a, err = New(w.Context(), w.o); err != nil {
		w.Fatal(err)
	}
	w.api = dockerapi.New(dockerapi.Options{Version: "test", Areas: func(context.Context) ([]dockerapi.Area, error) { return []dockerapi.Area{w.a}, nil }})
}

// do plays a request of the newest version where path names none.
func (w *world) do(method, path, body string) (int, string) {
	if !strings.HasPrefix(path, "/v1.") {
		path = "/v" + route.Version + path
	}
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, in)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	return rec.Code, strings.TrimSpace(rec.Body.String())
}

func (w *world) want(status int, method, path, body string) string {
	w.Helper()
	got, text := w.do(method, path, body)
	if got != status {
		w.Fatalf("%s %s %s: %d %s, want %d", method, path, body, got, text, status)
	}
	return text
}

func (w *world) inspect(name string) *container.InspectResponse {
	w.Helper()
	var out container.InspectResponse
	if err := json.Unmarshal([]byte(w.want(200, "GET", "/containers/"+name+"/json", "")), &out); err != nil {
		w.Fatal(err)
	}
	return &out
}

func (w *world) until(what string, f func() bool) {
	w.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatal("never: ", what)
		}
	}
}

func (w *world) id(name string) string { return w.inspect(name).ID }

func TestLifecycle(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/containers/create?name=one", `{"Image":"busybox","Cmd":["x"]}`)
	if s := w.inspect("one").State; s.Status != "created" || s.Running {
		t.Errorf("%+v", s)
	}
	w.want(409, "POST", "/containers/create?name=one", `{"Image":"busybox"}`)
	w.want(404, "POST", "/containers/create?name=two", `{"Image":"none"}`)
	w.want(409, "POST", "/containers/one/kill", "")
	w.want(204, "POST", "/containers/one/start", "")
	w.want(304, "POST", "/containers/one/start", "")
	w.want(204, "POST", "/containers/one/pause", "")
	if s := w.inspect("one").State; s.Status != "paused" || !s.Running || s.Pid == 0 {
		t.Errorf("%+v", s)
	}
	w.want(204, "POST", "/containers/one/unpause", "")
	w.want(204, "POST", "/containers/one/rename?name=%20uno%20", "")
	w.want(409, "DELETE", "/containers/uno", "")
	id := w.id("uno")
	w.fake.Exit(id, 3)
	if got := w.want(200, "POST", "/containers/uno/wait", ""); got != `{"StatusCode":3}` {
		t.Error(got)
	}
	if s := w.inspect("uno").State; s.Status != "exited" || s.ExitCode != 3 || s.Pid != 0 {
		t.Errorf("%+v", s)
	}
	w.want(204, "POST", "/containers/uno/restart", "")
	w.fake.OOM(id)
	w.until("the end", func() bool { return w.inspect("uno").State.OOMKilled })
	w.want(204, "DELETE", "/containers/uno", "")
	w.want(404, "GET", "/containers/uno/json", "")
	if left := w.fake.Dump(); left != "" {
		t.Error(left)
	}
}

// TestFailedStart has the words and the exit code of a start that failed in what
// inspect and wait tell.
func TestFailedStart(t *testing.T) {
	w := newWorld(t)
	w.fake.OnStart = func(engine.ContainerSpec) (enginetest.Program, error) {
		return nil, &engine.StartError{ExitCode: 126, Message: `exec: "/etc": is a directory`}
	}
	w.want(201, "POST", "/containers/create?name=one", `{"Image":"busybox"}`)
	w.want(400, "POST", "/containers/one/start", "")
	if got := w.want(200, "POST", "/containers/one/wait", ""); !strings.Contains(got, `is a directory: permission denied"},"StatusCode":126`) {
		t.Error(got)
	}
	w.want(201, "POST", "/containers/create?name=gone", `{"Image":"busybox","HostConfig":{"AutoRemove":true}}`)
	w.want(400, "POST", "/containers/gone/start", "")
	w.want(404, "GET", "/containers/gone/json", "")
	for host, want := range map[string]string{
		`{"NetworkMode":"container:nope"}`:                                 "joining network namespace of container: No such container: nope",
		`{"DeviceRequests":[{"Capabilities":[["gpu"]]}]}`:                  "failed to discover GPU vendor from CDI: no known GPU vendor found",
		`{"Tmpfs":{"/x":"foo=1"}}`:                                         `invalid tmpfs option \"foo\"`,
		`{"Devices":[{"PathOnHost":"/dev/no"}]}`:                           `error gathering device information while adding custom device \"/dev/no\": no such file or directory`,
		`{"SecurityOpt":["seccomp=/x"]}`:                                   "Decoding seccomp profile failed: invalid character '/' looking for beginning of value",
		`{"LogConfig":{"Config":{"max-file":"0"}}}`:                        "failed to create task for container: failed to initialize logging driver: max-file cannot be less than 1",
		`{"BlkioDeviceReadBps":[{"Path":"/dev/no","Rate":1}]}`:             "stat /dev/no: no such file or directory",
		`{"DeviceRequests":[{"Driver":"x","Capabilities":[["a"],["b"]]}]}`: `could not select device driver \"x\" with capabilities: [[a] [b]]`,
	} {
		w.want(201, "POST", "/containers/create?name=bad", `{"Image":"busybox","HostConfig":`+host+`}`)
		if got := w.want(500, "POST", "/containers/bad/start", ""); !strings.Contains(got, want) {
			t.Errorf("%s: %s", host, got)
		}
		w.want(204, "DELETE", "/containers/bad", "")
	}
}

// TestRestartPolicy counts the restarts of a program that fails.
func TestRestartPolicy(t *testing.T) {
	w := newWorld(t)
	w.fake.OnStart = func(engine.ContainerSpec) (enginetest.Program, error) {
		return func(context.Context, *enginetest.Process) int { return 4 }, nil
	}
	w.want(201, "POST", "/containers/create?name=one", `{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2}}}`)
	w.want(204, "POST", "/containers/one/start", "")
	w.until("the last end", func() bool { c := w.inspect("one"); return c.RestartCount == 2 && c.State.Status == "exited" })
	if got := w.inspect("one").State.ExitCode; got != 4 {
		t.Error(got)
	}
}

// TestRaces has many clients make and remove one name at once.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		if made := w.atOnce(8, "POST", "/containers/create?name=one", `{"Image":"busybox"}`); made[201] != 1 || made[409] != 7 {
			t.Fatal("create: ", made)
		}
		w.atOnce(4, "POST", "/containers/one/start", "")
		gone := w.atOnce(8, "DELETE", "/containers/one?force=1", "")
		if gone[204] != 1 || gone[204]+gone[404]+gone[409] != 8 {
			t.Fatal("remove: ", gone)
		}
		w.want(404, "GET", "/containers/one/json", "")
		if left := w.fake.Dump(); left != "" {
			t.Fatal(left)
		}
	}
	// Creation and removal against each other: whatever comes of it is whole.
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				if i%2 == 0 {
					w.do("POST", "/containers/create?name=two", `{"Image":"busybox"}`)
				} else {
					w.do("DELETE", "/containers/two?force=1", "")
				}
			}
		})
	}
	all.Wait()
	w.do("DELETE", "/containers/two?force=1", "")
	if left := w.fake.Dump(); left != "" || len(w.a.all) != 0 || len(w.a.names) != 0 {
		t.Errorf("%s %v", left, w.a.names)
	}
}

// atOnce plays a request n times at once and counts the answers.
func (w *world) atOnce(n int, method, path, body string) map[int]int {
	var mu sync.Mutex
	out := map[int]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			status, _ := w.do(method, path, body)
			mu.Lock()
			defer mu.Unlock()
			out[status]++
		})
	}
	all.Wait()
	return out
}

// TestGoesOn opens the area anew, as after a crash: what ran runs, what ended
// meanwhile has ended, what was half made is gone.
func TestGoesOn(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"runs", "ends", "made", "again"} {
		w.want(201, "POST", "/containers/create?name="+name, `{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"`+map[bool]string{true: "always"}[name == "again"]+`"}}}`)
		if name != "made" {
			w.want(204, "POST", "/containers/"+name+"/start", "")
		}
	}
	ends, again := w.id("ends"), w.id("again")
	w.a.Close()
	w.fake.Exit(ends, 9)
	w.fake.Exit(again, 1)
	half := engine.ContainerSpec{ID: strings.Repeat("ab", 32), Image: "busybox", Labels: map[string]string{Mine: ""}}
	if _, err := w.fake.Create(t.Context(), half); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.until("the end", func() bool { return w.inspect("ends").State.ExitCode == 9 })
	w.until("the restart", func() bool { c := w.inspect("again"); return c.State.Status == "running" && c.RestartCount == 1 })
	if a, b := w.inspect("runs").State.Status, w.inspect("made").State.Status; a != "running" || b != "created" {
		t.Error(a, b)
	}
	if strings.Contains(w.fake.Dump(), half.ID[:12]) {
		t.Error("half a container is still there")
	}
}

func TestImageMounts(t *testing.T) {
	w := newWorld(t)
	m := w.o.Mounter.(*notedMounts)
	body := `{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"image","Source":"busybox","Target":"/i","ImageOptions":{"Subpath":"a/b"}}]}}`
	w.want(201, "POST", "/containers/create?name=one", body)
	if got := w.inspect("one").Mounts; len(got) != 1 || got[0].Type != "image" || got[0].Name != "busybox" || got[0].RW {
		t.Errorf("%+v", got)
	}
	w.want(204, "POST", "/containers/one/start", "")
	if len(m.all) != 2 {
		t.Errorf("%v", m.all)
	}
	w.want(204, "DELETE", "/containers/one?force=1", "")
	if left := w.fake.Dump(); left != "" || len(m.all) != 0 {
		t.Errorf("%s %v", left, m.all)
	}
	w.want(404, "POST", "/containers/create?name=one", strings.Replace(body, `"Source":"busybox"`, `"Source":"none"`, 1))
	if left := w.fake.Dump(); left != "" {
		t.Error(left)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", "/containers/create?name=one", `{"Image":"busybox","HostConfig":{"Memory":67108864}}`)
	w.want(204, "POST", "/containers/one/start", "")
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{409, `{"Memory":268435456}`, "Memory limit should be smaller than already set memoryswap limit"},
		{200, `{"Memory":268435456,"MemorySwap":-1}`, ""},
		{200, `{"NanoCpus":500000000,"PidsLimit":-1}`, ""},
		{409, `{"CpuQuota":50000}`, "CPU Quota cannot be updated as NanoCPUs has already been set"},
		{500, `{"BlkioDeviceReadBps":[{"Path":"/dev/no","Rate":1}]}`, "stat /dev/no: no such file or directory"},
		{400, `{"RestartPolicy":{"Name":"x"}}`, "invalid restart policy"},
	} {
		if got := w.want(c.status, "POST", "/containers/one/update", c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.body, got)
		}
	}
	h := w.inspect("one").HostConfig
	if h.Memory != 268435456 || h.MemorySwap != -1 || h.NanoCPUs != 500000000 || h.PidsLimit == nil || *h.PidsLimit != 0 {
		t.Errorf("%+v", h.Resources)
	}
	if c, err := w.fake.Get(t.Context(), w.id("one")); err != nil || c.Spec.Resources.CPUQuota != 50000 || c.Spec.Resources.Pids != -1 {
		t.Errorf("%+v %v", c.Spec.Resources, err)
	}
}

func TestAttachErrorsAreText(t *testing.T) {
	w := newWorld(t)
	if got := w.want(404, "POST", "/containers/none/attach?stream=1", ""); got != "No such container: none" {
		t.Error(got)
	}
	w.want(404, "GET", "/containers/none/logs?stdout=1", "")
	w.want(400, "POST", "/containers/none/start?checkpoint=x", "")
	w.want(400, "POST", "/containers/none/start", fmt.Sprintf(`{"HostConfig":%q}`, "x"))
}
