package platform

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// standIns are the images of the tests: name to the command that they run by
// default. All hold the standin program and busybox with its applets.
var standIns = map[string][]string{
	"test/standin:1":                         {"/bin/standin", "serve", "80"},
	"test/standin:2":                         {"/bin/standin", "serve", "80"},
	"busybox:latest":                         {"sh"},
	"metamagic/podshelltomcat:9":             {"/bin/standin", "serve", "8080"},
	"metamagicglobal/hello:v1.0":             {"/bin/standin", "serve", "80"},
	"metamagicglobal/hello:v1.1":             {"/bin/standin", "serve", "80"},
	"metamagicglobal/k8uiworkshop:v1.0":      {"/bin/standin", "serve", "80"},
	"metamagicglobal/k8uiworkshop:v1.1":      {"/bin/standin", "serve", "80"},
	"metamagicglobal/productms:latest":       {"/bin/standin", "serve", "8082"},
	"metamagicglobal/productreviewms:latest": {"/bin/standin", "serve", "8082"},
	"localhost:5000/roar-web:v1":             {"/bin/standin", "serve", "8080"},
	"localhost:5000/roar-db:v1":              {"/bin/standin", "serve", "3306"},
	"localhost:5000/roar-web-v1:latest":      {"/bin/standin", "serve", "8080"},
	"localhost:5000/roar-db-v1:latest":       {"/bin/standin", "serve", "3306"},
	"127.0.0.1:9/pullpolicy:1":               {"/bin/standin", "serve", "80"},
	"127.0.0.1:9/pullpolicy:latest":          {"/bin/standin", "serve", "80"},
}

// makeArchive writes a docker archive with every stand-in: one layer, one
// configuration for each. STANDIN is the program where there is no Go.
func makeArchive(dir string) (string, error) {
	program := filepath.Join(dir, "standin")
	if built := os.Getenv("STANDIN"); built != "" {
		if err := os.Symlink(built, program); err != nil {
			return "", err
		}
	} else {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./image")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build the stand-in: %w\n%s", err, out)
		}
	}
	layer, err := makeLayer(program)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(layer)
	var archive tarball
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []entry
	archive.file("layer.tar", 0o644, layer)
	for name, cmd := range standIns {
		config, _ := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Cmd": cmd, "Env": []string{"PATH=/bin", "STANDIN=" + name}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sum)}},
		})
		file := fmt.Sprintf("%x.json", sha256.Sum256(config))
		archive.file(file, 0o644, config)
		manifest = append(manifest, entry{file, []string{name}, []string{"layer.tar"}})
	}
	index, _ := json.Marshal(manifest)
	archive.file("manifest.json", 0o644, index)
	data, err := archive.bytes()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "images.tar")
	return path, os.WriteFile(path, data, 0o600)
}

func makeLayer(program string) ([]byte, error) {
	var layer tarball
	for _, d := range []string{"bin/", "etc/", "tmp/", "home/", "var/", "root/"} {
		mode := int64(0o755)
		if d == "tmp/" {
			mode = 0o1777
		}
		layer.entry(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: mode}, nil)
	}
	for name, path := range map[string]string{"bin/busybox": "/bin/busybox", "bin/standin": program} {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		layer.file(name, 0o755, data)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			layer.entry(&tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	layer.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	layer.file("etc/group", 0o644, []byte("root:x:0:\napp:x:1000:\nnobody:x:65534:\n"))
	return layer.bytes()
}

// tarball collects entries and the first error.
type tarball struct {
	buf bytes.Buffer
	w   *tar.Writer
	err error
}

func (t *tarball) entry(h *tar.Header, data []byte) {
	if t.w == nil {
		t.w = tar.NewWriter(&t.buf)
	}
	h.Size = int64(len(data))
	if t.err == nil {
		t.err = t.w.WriteHeader(h)
	}
	if t.err == nil {
		_, t.err = t.w.Write(data)
	}
}

func (t *tarball) file(name string, mode int64, data []byte) {
	t.entry(&tar.Header{Name: name, Mode: mode}, data)
}

func (t *tarball) bytes() ([]byte, error) {
	if t.err == nil {
		t.err = t.w.Close()
	}
	return t.buf.Bytes(), t.err
}
