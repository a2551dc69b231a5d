package builds_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/builds"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/mount"
	"skiff.dev/skiff/telemetry"
	"skiff.dev/skiff/test/recordeddocker"
)

const busybox = "busybox:test"

// rig is the area behind a socket, over a store of its own.
type rig struct {
	testing.TB
	store  *imagestore.Store
	socket string
	client *http.Client
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime := build.Runtime{Crun: true}
	var err error
	if runtime.Path, err = exec.LookPath("crun"); err != nil {
		t.Skip("needs crun")
	}
	const unified = "/sys/fs/cgroup/unified"
	if mounted, err := mount.IsMount(unified); err == nil && mounted {
		runtime.Hide = unified
	}
	// Not in /tmp, which may be an overlay that cannot be below another.
	dir, err := os.MkdirTemp("/var/tmp", "skiff-builds")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, socket: filepath.Join(dir, "sock")}
	if r.store, err = imagestore.Open(t.Context(), filepath.Join(dir, "images"), telemetry.Discard(), func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	tree, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	const group = "/skiff-buildstest"
	builder, err := build.New(build.Options{Root: filepath.Join(dir, "build"), Store: r.store, Runtime: func() build.Runtime { return runtime }, CgroupParent: group, Cgroups: tree})
	if err != nil {
		t.Fatal(err)
	}
	area := builds.New(builds.Options{Builder: builder, Images: r.store})
	api := dockerapi.New(dockerapi.Options{Version: "test", Areas: func(context.Context) ([]dockerapi.Area, error) {
		return []dockerapi.Area{area, &imagesArea{r.store}}, nil
	}})
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: api}
	go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	r.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	}}}
	t.Cleanup(func() {
		for _, err := range []error{srv.Close(), builder.Close(), r.store.Close(), mount.UnmountBelow(dir), os.RemoveAll(dir), tree.Remove(group)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := r.store.Load(t.Context(), bytes.NewReader(enginetest.Busybox(t, busybox)), ""); err != nil {
		t.Fatal(err)
	}
	return r
}

// imagesArea is as much of the images' area as the recordings of builds need.
type imagesArea struct{ store *imagestore.Store }

func (a *imagesArea) Routes() []route.Route {
	return []route.Route{
		route.Post("/images/load", func(w http.ResponseWriter, r *route.Request) error {
			_, err := a.store.Load(r.Context(), r.Body, "")
			if err != nil {
				return err
			}
			return route.WriteJSON(w, http.StatusOK, map[string]string{"stream": "Loaded"})
		}),
		route.Get("/images/{name}/json", func(w http.ResponseWriter, r *route.Request) error {
			img, err := a.store.Get(r.Context(), r.Var("name"))
			if err != nil {
				return err
			}
			return route.WriteJSON(w, http.StatusOK, map[string]string{"Id": img.Digest})
		}),
		route.Get("/_ping", func(w http.ResponseWriter, r *route.Request) error {
			w.Header().Set("Builder-Version", "2")
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, err := io.WriteString(w, "OK")
			return err
		}),
		route.Delete("/images/{name}", func(w http.ResponseWriter, r *route.Request) error {
			return a.store.Remove(r.Context(), r.Var("name"))
		}),
	}
}

// TestRecordedBuildErrors plays the recording of builds that go wrong. It uses the
// recordings beside the repository.
func TestRecordedBuildErrors(t *testing.T) {
	f, err := recordeddocker.Read("../../../../shared/recorded-docker/g-build-errors.json")
	if os.IsNotExist(err) {
		f, err = recordeddocker.Read("../../../../../shared/recorded-docker/g-build-errors.json")
	}
	if os.IsNotExist(err) {
		t.Skip("needs ../shared/recorded-docker")
	}
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	engine, err := recordeddocker.Dial("unix://" + r.socket)
	if err != nil {
		t.Fatal(err)
	}
	results, err := recordeddocker.Play(t.Context(), engine, f)
	if err != nil {
		t.Error(err)
	}
	// What differs, and why, is in doc/differences.md.
	known := map[int]bool{40: true}
	for i := range results {
		if s := &results[i]; s.Compared && !s.Equal && !known[s.Index] {
			t.Errorf("step %d: %s %s (%s)\n%s", s.Index, s.Step.Method, s.Step.Path, s.Step.About, recordeddocker.Diff(s.Want, s.Got))
		}
	}
}
