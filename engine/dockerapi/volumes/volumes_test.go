package volumes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/filters"
)

// fakeMounts remembers what is mounted where.
type fakeMounts struct {
	mu   sync.Mutex
	at   map[string]string
	fail error
}

func (f *fakeMounts) Mount(source, target, kind, options string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.at[target] = strings.Join([]string{source, kind, options}, " ")
	return nil
}

func (f *fakeMounts) Unmount(target string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, target)
	return nil
}

func (f *fakeMounts) IsMount(target string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.at[target]
	return ok, nil
}

func open(t *testing.T, root string, m *fakeMounts) *Store {
	t.Helper()
	s, err := Open(Options{Root: root, Mounts: m, Events: &event.Hub{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(t *testing.T, s *Store, method, path, body string) (int, string) {
	t.Helper()
	h := dockerapi.New(dockerapi.Options{Areas: func(context.Context) ([]dockerapi.Area, error) { return []dockerapi.Area{New(s)}, nil }})
	r := httptest.NewRequest(method, strings.ReplaceAll(path, `"`, "%22"), strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// TestDurable closes nothing and opens again, as after a crash.
func TestDurable(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	m := &fakeMounts{at: map[string]string{}}
	s := open(t, root, m)
	for _, spec := range []Spec{
		{Name: "plain"}, {Name: "gone"},
		{Name: "mem", Driver: Driver, Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, Labels: map[string]string{"a": "b"}},
	} {
		if _, err := s.Create(ctx, spec, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mount("mem", "c1"); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves: a volume half made, one half removed with a mount in it.
	half, removed := filepath.Join(root, "half"), filepath.Join(root, going+"x")
	for _, d := range []string{half, filepath.Join(removed, dataDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.at[filepath.Join(removed, dataDir)] = "x"
	// And a volume whose file is broken keeps its data.
	broken := filepath.Join(root, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, metaFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	s = open(t, root, m)
	var names []string
	for _, v := range s.list(func(found) bool { return true }) {
		names = append(names, v.Name)
	}
	if got := strings.Join(names, " "); got != "mem plain" {
		t.Errorf("the volumes are %s", got)
	}
	for _, d := range []string{half, removed} {
		if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", d, err)
		}
	}
	if _, err := os.Stat(broken); err != nil {
		t.Error(err)
	}
	v, err := s.Get("mem")
	if err != nil || v.Options["o"] != "size=1m" || v.Labels["a"] != "b" {
		t.Errorf("%+v %v", v, err)
	}
	// The container goes on: its mount is taken over, and ends with it.
	m.fail = errors.New("mounted twice")
	if _, err := s.Mount("mem", "c1"); err != nil {
		t.Error(err)
	}
	if err := s.Unmount("mem", "c1"); err != nil || len(m.at) != 0 {
		t.Errorf("%v %v", err, m.at)
	}
}

func TestUse(t *testing.T) {
	ctx := context.Background()
	m := &fakeMounts{at: map[string]string{}}
	s := open(t, t.TempDir(), m)
	v, err := s.Create(ctx, Spec{}, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Labels[AnonymousLabel]; !ok || len(v.Name) != 64 {
		t.Errorf("%+v", v)
	}
	if err := s.Remove(ctx, v.Name); !errors.Is(err, ErrInUse) || err.Error() != "remove "+v.Name+": volume is in use - [c1]" {
		t.Error(err)
	}
	s.Release(v.Name, "c1")
	if err := s.Remove(ctx, v.Name); err != nil {
		t.Error(err)
	}
	if _, err := s.Hold(v.Name, "c1"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	opts := map[string]string{"type": "cifs", "device": "//1.2.3.4/x", "o": "user=u,password=secret"}
	if _, err := s.Create(ctx, Spec{Name: "remote", Options: opts}, ""); err != nil {
		t.Fatal(err)
	}
	m.fail = errors.New("mount with password=secret: no such device")
	if _, err := s.Mount("remote", "c1"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	m.fail = nil
	for _, c := range []string{"c1", "c2"} {
		if _, err := s.Mount("remote", c); err != nil {
			t.Error(err)
		}
	}
	if err := s.Unmount("remote", "c1"); err != nil || len(m.at) != 1 {
		t.Errorf("%v %v", err, m.at)
	}
	if err := s.Remove(ctx, "remote"); err == nil {
		t.Error("a mounted volume was removed")
	}
	if err := s.Unmount("remote", "c2"); err != nil || len(m.at) != 0 {
		t.Errorf("%v %v", err, m.at)
	}
}

// TestRace has many make, hold and remove one volume.
func TestRace(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir(), &fakeMounts{at: map[string]string{}})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ref := fmt.Sprint("c", i)
			for range 20 {
				if _, err := s.Create(ctx, Spec{Name: "one"}, ref); err != nil {
					t.Error(err)
				}
				dir, err := s.Mount("one", ref)
				if err != nil {
					t.Error(err)
				} else if _, err := os.Stat(dir); err != nil {
					t.Error(err)
				}
				if err := s.Remove(ctx, "one"); err == nil {
					t.Error("a volume in use was removed")
				}
				if err := s.Unmount("one", ref); err != nil {
					t.Error(err)
				}
				s.Release("one", ref)
				if err := s.Remove(ctx, "one"); err != nil && !errors.Is(err, ErrInUse) && !errors.Is(err, ErrNotFound) && !strings.Contains(err.Error(), "active mounts") {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestUsage(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir(), &fakeMounts{at: map[string]string{}})
	v, err := s.Create(ctx, Spec{Name: "vol"}, "")
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(v.Mountpoint, "f")
	if err := errors.Join(os.WriteFile(f, []byte("four"), 0o600), os.Link(f, filepath.Join(v.Mountpoint, "again"))); err != nil {
		t.Fatal(err)
	}
	du, err := s.Usage(ctx, true)
	if err != nil || du.TotalCount != 1 || du.TotalSize != 4 || du.Reclaimable != 4 || du.Items[0].UsageData.RefCount != 0 {
		t.Errorf("%+v %v", du, err)
	}
	if _, err := s.Hold("vol", "c1"); err != nil {
		t.Fatal(err)
	}
	du, err = s.Usage(ctx, false)
	if err != nil || du.ActiveCount != 1 || du.Reclaimable != 0 || du.Items != nil {
		t.Errorf("%+v %v", du, err)
	}
}

func TestAPI(t *testing.T) {
	s := open(t, t.TempDir(), &fakeMounts{at: map[string]string{}})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string // a part of the answer
	}{
		{"POST", "/volumes/create", `{"Name":"vol-a"}`, 201, `"Labels":null,"Mountpoint":`},
		{"POST", "/volumes/create", `{"Name":"vol-a","Labels":{"x":"1"}}`, 201, `"Labels":null`},
		{"POST", "/volumes/create", `{"Name":"vol-b","DriverOpts":{},"Labels":{"k":"v"}}`, 201, `"Labels":{"k":"v"}`},
		{"POST", "/volumes/create", `{"Name":"x"}`, 400, "create x: volume name is too short, names should be at least two alphanumeric characters"},
		{"POST", "/volumes/create", `{"Name":"../up"}`, 400, `create ../up: \"../up\" includes invalid characters`},
		{"POST", "/volumes/create", `{"Name":"` + strings.Repeat("a", 300) + `"}`, 400, "volume name is too long"},
		{"POST", "/volumes/create", `{"Name":"vol-c","DriverOpts":{"bogus":"x"}}`, 400, `create vol-c: invalid option: \"bogus\"`},
		{"POST", "/volumes/create", `{"Name":"vol-c","DriverOpts":{"o":"ro"}}`, 400, `create vol-c: missing required option: \"device\"`},
		{"POST", "/volumes/create", `{"Name":"vol-c","DriverOpts":{"size":"x"}}`, 400, `create vol-c: invalid size: 'x'`},
		{"POST", "/volumes/create", `{"Name":"vol-c","DriverOpts":{"size":"1m"}}`, 400, "quota size requested but no quota support"},
		{"POST", "/volumes/create", `{"Name":"vol-c","Driver":"bogus"}`, 404, `create vol-c: error looking up volume plugin bogus: plugin \"bogus\" not found`},
		{"POST", "/volumes/create", `{"Name":"vol-c","ClusterVolumeSpec":{}}`, 503, "This node is not a swarm manager."},
		{"GET", "/volumes/vol-b", "", 200, `"Driver":"local","Labels":{"k":"v"}`},
		{"GET", "/volumes/none", "", 404, `get none: no such volume`},
		{"GET", `/volumes?filters={"name":["vol"]}`, "", 200, `"Name":"vol-a"`},
		{"GET", `/volumes?filters={"label":["k=w"]}`, "", 200, `{"Volumes":[],"Warnings":null}`},
		{"GET", `/volumes?filters={"dangling":["false"]}`, "", 200, `{"Volumes":[],"Warnings":null}`},
		{"GET", `/volumes?filters={"dangling":["perhaps"]}`, "", 400, `invalid filter 'dangling=[perhaps]'`},
		{"GET", `/volumes?filters=x`, "", 400, `error reading volume filters: invalid filter`},
		{"PUT", "/volumes/vol-a?version=1", "{}", 503, "volume update only valid for cluster volumes, but swarm is unavailable"},
		{"POST", `/volumes/prune?filters={"all":["perhaps"]}`, "", 400, `invalid filter 'all': strconv.ParseBool: parsing \"perhaps\": invalid syntax`},
		{"POST", `/volumes/prune?filters={"all":["0","1"]}`, "", 400, `invalid filter 'all=[0 1]': only one value is expected`},
		{"POST", `/volumes/prune`, "", 200, `{"VolumesDeleted":[],"SpaceReclaimed":0}`},
		{"POST", `/volumes/prune?filters={"all":["true"],"label!":["k"]}`, "", 200, `{"VolumesDeleted":["vol-a"],"SpaceReclaimed":0}`},
		{"POST", `/v1.41/volumes/prune`, "", 200, `{"VolumesDeleted":["vol-b"],"SpaceReclaimed":0}`},
		{"DELETE", "/volumes/vol-b", "", 404, "get vol-b: no such volume"},
		{"DELETE", "/volumes/vol-b?force=1", "", 204, ""},
	} {
		status, body := ask(t, s, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s: %d %s, not %d %s", c.method, c.path, c.body, status, body, c.status, c.want)
		}
	}
}

func TestRemote(t *testing.T) {
	resolve := func(host string) (string, error) { return "10.0.0.9", nil }
	for _, c := range []struct{ kind, device, options, wantDevice, wantOptions string }{
		{"nfs", ":/x", "addr=server,rw", ":/x", "addr=10.0.0.9,rw"},
		{"nfs", ":/x", "addr=10.0.0.1,rw", ":/x", "addr=10.0.0.1,rw"},
		{"cifs", "//server/x", "user=u", "//10.0.0.9/x", "user=u"},
		{"ext4", "/dev/x", "addr=server", "/dev/x", "addr=server"},
	} {
		device, options, err := remote(c.kind, c.device, c.options, resolve)
		if err != nil || device != c.wantDevice || options != c.wantOptions {
			t.Errorf("%+v: %s %s %v", c, device, options, err)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("ok.name", "type", "tmpfs")
	f.Add("../x", "o", "size=1m")
	f.Fuzz(func(t *testing.T, name, option, value string) {
		if checkName(name) == nil && (filepath.Base(name) != name || strings.HasPrefix(name, ".")) {
			t.Errorf("%q leaves the root", name)
		}
		checkOptions(map[string]string{option: value, "type": "cifs", "device": value})
		if a, err := filters.Parse(value); err == nil {
			pruneAll(a)
		}
	})
}
