package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/mount"
	"skiff.dev/skiff/telemetry"
)

// rig is a Builder over a store of its own.
type rig struct {
	testing.TB
	dir     string
	store   *imagestore.Store
	builder *build.Builder
}

// busybox is the base image of the tests.
const busybox = "busybox:test"

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	// Not in /tmp, which may be an overlay that cannot be below another.
	dir, err := os.MkdirTemp("/var/tmp", "skiff-build")
	if err != nil {
		t.Fatal(err)
	}
	return rigIn(t, dir)
}

// rigIn is a rig in a directory, which goes with it.
func rigIn(t testing.TB, dir string) *rig {
	t.Helper()
	r := &rig{TB: t, dir: dir}
	t.Cleanup(func() {
		r.close()
		if tree, err := cgroup.Detect(); err != nil {
			t.Error(err)
		} else if err := tree.Remove("/skiff-buildtest"); err != nil {
			t.Error(err)
		}
		if err := mount.UnmountBelow(dir); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.open()
	return r
}

func (r *rig) open() {
	r.Helper()
	var err error
	if r.store, err = imagestore.Open(r.Context(), filepath.Join(r.dir, "images"), telemetry.Discard(), func(string) (string, bool) { return "", false }); err != nil {
		r.Fatal(err)
	}
	tree, err := cgroup.Detect()
	if err != nil {
		r.Fatal(err)
	}
	r.builder, err = build.New(build.Options{
		Root: filepath.Join(r.dir, "build"), Store: r.store, Runtime: func() build.Runtime { return ociRuntime(r) },
		CgroupParent: "/skiff-buildtest", Cgroups: tree,
	})
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) close() {
	if err := r.builder.Close(); err != nil {
		r.Error(err)
	}
	if err := r.store.Close(); err != nil {
		r.Error(err)
	}
}

// ociRuntime finds crun or runc.
func ociRuntime(t testing.TB) build.Runtime {
	const unified = "/sys/fs/cgroup/unified"
	if p, err := exec.LookPath("crun"); err == nil {
		r := build.Runtime{Path: p, Crun: true}
		if mounted, err := mount.IsMount(unified); err == nil && mounted {
			r.Hide = unified
		}
		return r
	}
	p, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs crun or runc")
	}
	return build.Runtime{Path: p}
}

// loadBusybox loads an image of the machine's static busybox.
func (r *rig) loadBusybox() {
	r.Helper()
	bin, err := os.ReadFile("/bin/busybox")
	if err != nil {
		r.Skip("needs busybox-static")
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	put := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			r.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			r.Fatal(err)
		}
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "proc/", "sys/", "dev/"} {
		put(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	put(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, bin)
	for _, a := range []string{"sh", "cat", "echo", "ls", "true", "id", "sleep", "ip", "stat", "env", "touch", "dd", "mkdir", "wc", "head", "seq", "hostname"} {
		put(&tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	put(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"))
	put(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\napp:x:1000:\n"))
	if err := w.Close(); err != nil {
		r.Fatal(err)
	}
	created := time.Unix(1600000000, 0).UTC()
	config, err := json.Marshal(imagespec.Image{
		Created: &created, Platform: imagespec.Platform{OS: "linux", Architecture: "amd64"},
		Config: imagespec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}},
		RootFS: imagespec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}},
	})
	if err != nil {
		r.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{busybox}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		r.Fatal(err)
	}
	var archive bytes.Buffer
	w = tar.NewWriter(&archive)
	put(&tar.Header{Name: "layer.tar", Mode: 0o644}, layer.Bytes())
	put(&tar.Header{Name: "config.json", Mode: 0o644}, config)
	put(&tar.Header{Name: "manifest.json", Mode: 0o644}, manifest)
	if err := w.Close(); err != nil {
		r.Fatal(err)
	}
	if _, err := r.store.Load(r.Context(), &archive, ""); err != nil {
		r.Fatal(err)
	}
}

// context makes a directory of the files and returns it.
func (r *rig) context(files map[string]string) fsutil.FS {
	r.Helper()
	dir := r.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			r.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			r.Fatal(err)
		}
	}
	f, err := fsutil.NewFS(dir)
	if err != nil {
		r.Fatal(err)
	}
	return f
}

// output is what a build said.
type output struct {
	text   strings.Builder
	cached map[string]bool // by name
}

func (o *output) take(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		if v.Completed != nil {
			o.cached[v.Name] = v.Cached
		}
	}
	for _, l := range s.Logs {
		o.text.Write(l.Data)
	}
}

func (r *rig) build(files map[string]string, q build.Request) (*output, build.Result, error) {
	r.Helper()
	q.Context = r.context(files)
	out := &output{cached: map[string]bool{}}
	res, err := r.builder.Build(r.Context(), q, out.take)
	return out, res, err
}

// must builds and returns what the build said.
func (r *rig) must(dockerfile string, q build.Request, files ...string) string {
	r.Helper()
	all := map[string]string{"Dockerfile": dockerfile}
	for i := 0; i < len(files); i += 2 {
		all[files[i]] = files[i+1]
	}
	out, _, err := r.build(all, q)
	if err != nil {
		r.Fatalf("%v\n%s", err, out.text.String())
	}
	return out.text.String()
}

// file reads a file of an image by its lower directories, as a container sees it.
func (r *rig) file(ref, name string) string {
	r.Helper()
	var text string
	err := r.store.Use(context.Background(), ref, func(u imagestore.Run) error {
		for _, l := range u.Lower {
			b, err := os.ReadFile(filepath.Join(r.store.Layers(), l, name))
			if err == nil {
				text = string(b)
				return nil
			}
		}
		return os.ErrNotExist
	})
	if err != nil {
		r.Fatalf("%s of %s: %v", name, ref, err)
	}
	return text
}

func TestBuildFromScratch(t *testing.T) {
	r := newRig(t)
	r.must("FROM scratch\nCOPY a /b\nLABEL x=y\n", build.Request{Tags: []string{"made:1"}}, "a", "hello")
	if got := r.file("made:1", "b"); got != "hello" {
		t.Fatalf("/b is %q", got)
	}
	img, err := r.store.Get(t.Context(), "made:1")
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.Config.Labels["x"] != "y" {
		t.Errorf("labels %v", img.Config.Config.Labels)
	}
}

func TestBuildRun(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	said := r.must("FROM "+busybox+"\nRUN echo said; echo kept > /kept\n", build.Request{Tags: []string{"made:2"}})
	if !strings.Contains(said, "said\n") {
		t.Errorf("output %q", said)
	}
	if got := r.file("made:2", "kept"); got != "kept\n" {
		t.Errorf("/kept is %q", got)
	}
}
