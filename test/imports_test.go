package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "skiff.dev/skiff"

// mayImport is the table of rooms of doc/architecture.md: which rooms the
// non-test files of a room may import, besides themselves and telemetry.
var mayImport = map[string][]string{
	"telemetry":   {},
	"kinds":       {},
	"codec":       {"kinds"},
	"store":       {},
	"auth":        {"kinds"},
	"apiserver":   {"auth", "codec", "kinds", "store"},
	"client":      {"codec", "kinds"},
	"controllers": {"client", "kinds"},
	"scheduler":   {"client", "kinds"},
	"kernel":      {},
	"engine":      {"kernel"},
	"volume":      {"kernel", "client"},
	"network":     {"client", "kinds", "kernel"},
	"dns":         {"client", "kinds"},
	"node":        {"client", "kinds", "engine", "volume", "network"},
	"cli":         {"client", "codec", "kinds"},
	"platform":    {"*"},
	"test":        {"platform", "client", "*"},
	"examples":    {},
	"":            {"platform"},
}

// forbidden are the systems that we replace: importing one would wrap it instead.
var forbidden = []string{
	"k8s.io/kubernetes",
	"k8s.io/apiserver/pkg/server",
	"k8s.io/apiserver/pkg/registry",
	"k8s.io/apiserver/pkg/storage",
	"k8s.io/kube-aggregator/pkg/apiserver",
	"github.com/containerd/containerd/v2/cmd",
	"github.com/docker/docker/daemon",
	"istio.io/istio",
}

func TestImportDirections(t *testing.T) {
	root := ".."
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		room := roomOf(filepath.ToSlash(filepath.Dir(rel)))
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: %q is not a room of the table", rel, room)
		}
		for _, im := range f.Imports {
			target := strings.Trim(im.Path.Value, `"`)
			for _, bad := range forbidden {
				if target == bad || strings.HasPrefix(target, bad+"/") {
					t.Errorf("%s imports %s, a system that we replace", rel, target)
				}
			}
			inner, ours := strings.CutPrefix(target, module+"/")
			if !ours {
				continue
			}
			to := roomOf(inner)
			if to == room || to == "telemetry" || slices.Contains(allowed, "*") || slices.Contains(allowed, to) {
				continue
			}
			t.Errorf("%s: room %q may not import room %q (%s)", rel, room, to, target)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func roomOf(dir string) string {
	if dir == "." {
		return ""
	}
	room, _, _ := strings.Cut(dir, "/")
	return room
}
