package enginetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
)

// File is one entry of a layer.
type File struct {
	Name     string
	Body     string
	Mode     int64
	UID, GID int
	Link     string // a symbolic link, where not empty
	Dir      bool
}

// Layer packs files as a layer's tar.
func Layer(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Body)), Uid: f.UID, Gid: f.GID, Typeflag: tar.TypeReg}
		switch {
		case f.Dir:
			h.Typeflag, h.Size = tar.TypeDir, 0
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Link, 0
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(f.Body)); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// ConfigOf is the configuration of an image of the given layers.
func ConfigOf(cfg imagespec.ImageConfig, layers ...[]byte) []byte {
	img := imagespec.Image{Config: cfg}
	img.OS, img.Architecture = "linux", runtime.GOARCH
	img.RootFS.Type = "layers"
	img.RootFS.DiffIDs = []digest.Digest{}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(l))
	}
	b, err := json.Marshal(img)
	if err != nil {
		panic(err)
	}
	return b
}

// DockerArchive packs an image as `docker save` does.
func DockerArchive(cfg imagespec.ImageConfig, tags []string, layers ...[]byte) []byte {
	config := ConfigOf(cfg, layers...)
	sum := sha256.Sum256(config)
	name := hex.EncodeToString(sum[:]) + ".json"
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: name, RepoTags: tags, Layers: []string{}}
	files := []File{{Name: name, Body: string(config), Mode: 0o644}}
	for i, l := range layers {
		n := string(rune('a'+i)) + "/layer.tar"
		e.Layers = append(e.Layers, n)
		files = append(files, File{Name: n, Body: string(l), Mode: 0o644})
	}
	m, err := json.Marshal([]entry{e})
	if err != nil {
		panic(err)
	}
	return Layer(append(files, File{Name: "manifest.json", Body: string(m), Mode: 0o644})...)
}

// Busybox is an image with busybox and some accounts, as a docker archive of the
// given tag. The test is skipped where the machine has no static busybox.
func Busybox(t testing.TB, tag string) []byte {
	t.Helper()
	bin, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs /bin/busybox (apt-get install busybox-static): ", err)
	}
	base := Layer(
		File{Name: "bin", Dir: true}, File{Name: "bin/busybox", Body: string(bin), Mode: 0o755},
		File{Name: "bin/sh", Link: "busybox"}, File{Name: "tmp", Dir: true, Mode: 0o1777},
		File{Name: "etc", Dir: true},
		File{Name: "etc/passwd", Body: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n", Mode: 0o644},
		File{Name: "etc/group", Body: "root:x:0:\napp:x:1001:\nextra:x:2000:app\n", Mode: 0o644},
		File{Name: "root", Dir: true, Mode: 0o700}, File{Name: "notexec", Body: "#!/bin/sh\n", Mode: 0o644},
	)
	top := Layer(File{Name: "home", Dir: true}, File{Name: "home/app", Dir: true, UID: 1000, GID: 1001})
	cfg := imagespec.ImageConfig{Env: []string{"PATH=/bin", "FROM=image"}, Cmd: []string{"/bin/sh"}, Labels: map[string]string{"l": "v"}}
	return DockerArchive(cfg, []string{tag}, base, top)
}
