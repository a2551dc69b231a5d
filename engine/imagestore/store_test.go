package imagestore

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/telemetry"
)

// used is which images containers use.
type used map[string]string

func (u used) in(id string) (string, bool) { c, ok := u[id]; return c, ok }

func openStore(t testing.TB, root string, u used) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers keep their owners")
	}
	s, err := Open(t.Context(), root, telemetry.Discard(), u.in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var (
	layer1 = enginetest.Layer(enginetest.File{Name: "a", Body: "one"}, enginetest.File{Name: "d", Dir: true})
	layer2 = enginetest.Layer(enginetest.File{Name: "b", Body: "two"}, enginetest.File{Name: "d/.wh.x"})
)

func archiveOf(tags ...string) []byte {
	return enginetest.DockerArchive(imagespec.ImageConfig{Cmd: []string{"/a"}}, tags, layer1, layer2)
}

// files counts what the store holds on the disk: blobs, snapshots, ingests.
func files(t *testing.T, s *Store) (n int) {
	t.Helper()
	for _, d := range []string{"content/blobs", "content/ingest", "snapshots/snapshots"} {
		err := filepath.WalkDir(filepath.Join(s.root, d), func(p string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && (!e.IsDir() || strings.Count(strings.TrimPrefix(p, s.root), "/") == 3 && strings.HasPrefix(d, "snap")) {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func names(t *testing.T, s *Store) string {
	t.Helper()
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range all {
		if len(i.Names) == 0 {
			out = append(out, "<none>")
		}
		out = append(out, i.Names...)
	}
	return strings.Join(out, " ")
}

func mustLoad(t *testing.T, s *Store, archive []byte, name string) []*engine.Image {
	t.Helper()
	out, err := s.Load(t.Context(), bytes.NewReader(archive), name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLoadAndRemove(t *testing.T) {
	u := used{}
	root := t.TempDir()
	s := openStore(t, root, u)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(archiveOf("app:v1", "registry.local:5000/team/app:v2"))
	w.Close()
	imgs := mustLoad(t, s, z.Bytes(), "")
	if len(imgs) != 1 || len(imgs[0].Names) != 2 || imgs[0].Config.Config.Cmd[0] != "/a" {
		t.Fatalf("%+v", imgs)
	}
	id := imgs[0].ID
	for _, ref := range []string{"app:v1", "docker.io/library/app:v1", "registry.local:5000/team/app:v2", id, id[7:15], "app@" + imgs[0].Digest} {
		if i, err := s.Get(t.Context(), ref); err != nil || i.ID != id {
			t.Errorf("get %s: %v", ref, err)
		}
	}
	var run Run
	if err := s.Use(t.Context(), "app:v1", func(r Run) error { run = r; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(run.Lower) != 2 || run.Ref == "" {
		t.Fatalf("%+v", run)
	}
	if b, err := os.ReadFile(filepath.Join(s.Layers(), run.Lower[0], "b")); err != nil || string(b) != "two" {
		t.Errorf("%q %v", b, err)
	}
	if us, err := s.Usage(t.Context()); err != nil || us.Used == 0 || us.Total == 0 {
		t.Errorf("%+v %v", us, err)
	}
	// All is there for the next process.
	s.Close()
	s = openStore(t, root, u)
	if got := names(t, s); got != "docker.io/library/app:v1 registry.local:5000/team/app:v2" {
		t.Fatal(got)
	}
	if err := s.Remove(t.Context(), "app:v1"); err != nil {
		t.Fatal(err)
	}
	u[id] = "c1"
	if err := s.Remove(t.Context(), "registry.local:5000/team/app:v2"); !errors.Is(err, engine.ErrInUse) {
		t.Fatal(err)
	}
	delete(u, id)
	if err := s.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if n := files(t, s); n != 0 {
		t.Errorf("%d files stay after the last name", n)
	}
}

func TestNameMoves(t *testing.T) {
	u := used{}
	s := openStore(t, t.TempDir(), u)
	old := mustLoad(t, s, archiveOf("app"), "")[0]
	u[old.ID] = "c1"
	other := enginetest.DockerArchive(imagespec.ImageConfig{Cmd: []string{"/b"}}, []string{"app"}, layer1)
	mustLoad(t, s, other, "")
	if got := names(t, s); !strings.Contains(got, "<none>") || !strings.Contains(got, "app:latest") {
		t.Fatal(got)
	}
	if err := s.Use(t.Context(), old.ID, func(Run) error { return nil }); err != nil {
		t.Errorf("the old image is used and must be there: %v", err)
	}
	delete(u, old.ID)
	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s); got != "docker.io/library/app:latest" {
		t.Fatal(got)
	}
}

// layout writes an OCI layout and returns its directory.
func layout(t *testing.T, annotations map[string]string, change func(files map[string][]byte)) (dir string, tar []byte) {
	t.Helper()
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	blob := func(mt string, b []byte) imagespec.Descriptor {
		d := digest.FromBytes(b)
		files["blobs/sha256/"+d.Encoded()] = b
		return imagespec.Descriptor{MediaType: mt, Digest: d, Size: int64(len(b))}
	}
	js := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m := imagespec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: blob(imagespec.MediaTypeImageConfig, enginetest.ConfigOf(imagespec.ImageConfig{Cmd: []string{"/a"}}, layer1)),
		Layers: []imagespec.Descriptor{blob(imagespec.MediaTypeImageLayer, layer1)}}
	d := blob(imagespec.MediaTypeImageManifest, js(m))
	d.Annotations = annotations
	files["index.json"] = js(imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imagespec.Descriptor{d}})
	if change != nil {
		change(files)
	}
	dir = t.TempDir()
	var entries []enginetest.File
	for n, b := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, n)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o644); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, enginetest.File{Name: n, Body: string(b)})
	}
	return dir, enginetest.Layer(entries...)
}

func TestOCI(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		arg, want   string
	}{
		"full name":      {map[string]string{imagespec.AnnotationRefName: "reg.io/x/y:z"}, "", "reg.io/x/y:z"},
		"name of docker": {map[string]string{"io.containerd.image.name": "docker.io/library/n:1", imagespec.AnnotationRefName: "1"}, "", "docker.io/library/n:1"},
		"tag and name":   {map[string]string{imagespec.AnnotationRefName: "latest"}, "mine", "docker.io/library/mine:latest"},
		"no name":        {nil, "", "<none>"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, archive := layout(t, c.annotations, nil)
			s := openStore(t, t.TempDir(), used{})
			if _, err := s.LoadDir(t.Context(), dir, c.arg); err != nil {
				t.Fatal(err)
			}
			if got := names(t, s); got != c.want {
				t.Errorf("directory: %s", got)
			}
			imgs := mustLoad(t, s, archive, c.arg)
			if got := names(t, s); got != c.want {
				t.Errorf("archive: %s", got)
			}
			if err := s.Remove(t.Context(), imgs[0].ID); err != nil {
				t.Fatal(err)
			}
			if n := files(t, s); n != 0 {
				t.Errorf("%d files stay", n)
			}
		})
	}
}

func TestCorrupt(t *testing.T) {
	corruptLayer := func(files map[string][]byte) {
		d := digest.FromBytes(layer1)
		files["blobs/sha256/"+d.Encoded()] = bytes.Replace(layer1, []byte("one"), []byte("0ne"), 1)
	}
	missing := func(files map[string][]byte) { delete(files, "blobs/sha256/"+digest.FromBytes(layer1).Encoded()) }
	badIndex := func(files map[string][]byte) {
		files["index.json"] = []byte(`{"manifests":[{"digest":"sha256:../../etc","size":1}]}`)
	}
	wrongDir, wrongTar := layout(t, nil, corruptLayer)
	missingDir, missingTar := layout(t, nil, missing)
	badDir, badTar := layout(t, nil, badIndex)
	whole := archiveOf("app")
	escape := enginetest.DockerArchive(imagespec.ImageConfig{}, []string{"esc"}, enginetest.Layer(
		enginetest.File{Name: "link", Link: "/"}, enginetest.File{Name: "link/skiff-escaped-file", Body: "x"}, enginetest.File{Name: "../../skiff-escaped-file", Body: "x"}))
	s := openStore(t, t.TempDir(), used{})
	for name, archive := range map[string][]byte{
		"nothing": nil, "garbage": bytes.Repeat([]byte("garbage "), 1000), "truncated": whole[:len(whole)/2], "gzip cut off": {0x1f, 0x8b, 8, 0, 0},
		"no manifest": layer1, "wrong digest": wrongTar, "missing blob": missingTar, "bad digest": badTar,
		"manifest not JSON": enginetest.Layer(enginetest.File{Name: "manifest.json", Body: "{"}),
		"layer missing":     enginetest.Layer(enginetest.File{Name: "manifest.json", Body: `[{"Config":"c","Layers":["l"]}]`}),
		"config not JSON":   enginetest.Layer(enginetest.File{Name: "c", Body: "{"}, enginetest.File{Name: "manifest.json", Body: `[{"Config":"c","Layers":[]}]`}),
		"other diff id":     replaced(t, whole, layer2, enginetest.Layer(enginetest.File{Name: "b", Body: "oth"}, enginetest.File{Name: "d/.wh.x"})),
	} {
		_, err := s.Load(t.Context(), bytes.NewReader(archive), "")
		if !errors.Is(err, engine.ErrInvalid) && !errors.Is(err, engine.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, err)
		if n := files(t, s); n != 0 {
			t.Errorf("%s: %d files stay", name, n)
		}
	}
	for name, dir := range map[string]string{"wrong digest": wrongDir, "missing blob": missingDir, "bad digest": badDir, "no layout": t.TempDir()} {
		if _, err := s.LoadDir(t.Context(), dir, ""); err == nil {
			t.Errorf("directory, %s: no error", name)
		}
		if n := files(t, s); n != 0 {
			t.Errorf("directory, %s: %d files stay", name, n)
		}
	}
	if _, err := s.Load(t.Context(), bytes.NewReader(escape), ""); err == nil {
		for _, p := range []string{"/skiff-escaped-file", filepath.Join(s.root, "skiff-escaped-file"), filepath.Join(s.root, "snapshots", "skiff-escaped-file"), filepath.Join(s.Layers(), "skiff-escaped-file")} {
			if _, err := os.Lstat(p); err == nil {
				t.Errorf("%s was written", p)
				os.Remove(p)
			}
		}
	}
	if got := names(t, s); strings.Contains(got, "app") {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx, bytes.NewReader(whole), ""); err == nil {
		t.Error("a cancelled load succeeds")
	}
}

// replaced puts another layer of the same length in the place of one.
func replaced(t *testing.T, archive, old, other []byte) []byte {
	t.Helper()
	if len(old) != len(other) || !bytes.Contains(archive, old) {
		t.Fatal("layers of different lengths")
	}
	return bytes.Replace(archive, old, other, 1)
}

// FuzzLoad: whatever an archive holds, loading it ends without a panic, and what
// is refused leaves nothing.
func FuzzLoad(f *testing.F) {
	f.Add(archiveOf("app"))
	f.Add([]byte("garbage"))
	f.Add(enginetest.Layer(enginetest.File{Name: "manifest.json", Body: `[{"Config":"c","Layers":["l"]}]`}, enginetest.File{Name: "c", Body: "{}"}, enginetest.File{Name: "l", Body: "x"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		s := openStore(t, t.TempDir(), used{})
		if _, err := s.Load(t.Context(), bytes.NewReader(archive), ""); err != nil && files(t, s) != 0 {
			t.Fatalf("%v, and %d files stay", err, files(t, s))
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":1}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, err := parseIndex(b)
		if err != nil {
			return
		}
		for _, m := range ms {
			if strings.Contains(m.Digest.Encoded(), "/") {
				t.Fatalf("digest %q leads elsewhere", m.Digest)
			}
			if n := indexName(m.Annotations, ""); n != "" {
				if again, err := engine.NormalizeRef(n); err != nil || again != n {
					t.Fatalf("name %q: %v", n, err)
				}
			}
		}
	})
}
