// Package composetest plays the scripts of compose's packages, and loads projects for
// them: files of testdata with what goes in and what is to come out, which -rewrite
// writes anew.
package composetest

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/tools/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write what was found into the scripts")

// Script is one file of testdata.
type Script struct {
	*txtar.Archive
	t *testing.T
}

// Play gives each script in testdata to play, in a test of its own.
func Play(t *testing.T, play func(*testing.T, *Script)) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			absolute, err := filepath.Abs(path) // play may go elsewhere
			if err != nil {
				t.Fatal(err)
			}
			play(t, &Script{archive, t})
			if !*rewrite {
				return
			}
			if err := os.WriteFile(absolute, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Got says what came out for the i-th file.
func (s *Script) Got(i int, got string) {
	s.t.Helper()
	if *rewrite {
		s.Files[i].Data = []byte(got)
	} else if want := string(s.Files[i].Data); got != want {
		s.t.Errorf("%s\ngot:\n%s\nwant:\n%s", s.Files[i].Name, got, want)
	}
}

// GotNamed says what came out for the file of a name, which -rewrite adds.
func (s *Script) GotNamed(name, got string) {
	s.t.Helper()
	for i, f := range s.Files {
		if f.Name == name {
			s.Got(i, got)
			return
		}
	}
	if !*rewrite {
		s.t.Errorf("the script has no file %q", name)
		return
	}
	s.Files = append(s.Files, txtar.File{Name: name, Data: []byte(got)})
}

// Project is the project shop of a compose file in /shop.
func Project(t *testing.T, text []byte, environment types.Mapping) *types.Project {
	t.Helper()
	p, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  "/shop",
		ConfigFiles: []types.ConfigFile{{Filename: "/shop/compose.yaml", Content: text}},
		Environment: environment,
	}, func(o *loader.Options) { o.SetProjectName("shop", true) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}
