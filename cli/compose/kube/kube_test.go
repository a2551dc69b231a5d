package kube

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/tools/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write what was found into the scripts")

// TestManifests plays testdata/*.txtar: compose.yaml in, manifests and notes out.
func TestManifests(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
				WorkingDir:  "/shop",
				ConfigFiles: []types.ConfigFile{{Filename: "/shop/compose.yaml", Content: ar.Files[0].Data}},
				Environment: types.Mapping{"TOKEN": "t0k"},
			}, func(o *loader.Options) { o.SetProjectName("shop", true) })
			if err != nil {
				t.Fatal(err)
			}
			text, notes, err := Manifests(p, "-")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{"manifests": string(text), "notes": strings.Join(append(notes, ""), "\n")}
			if *rewrite {
				ar.Files = append(ar.Files[:1], txtar.File{Name: "manifests", Data: text}, txtar.File{Name: "notes", Data: []byte(got["notes"])})
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, f := range ar.Files[1:] {
				if got[f.Name] != string(f.Data) {
					t.Errorf("%s: got:\n%s\nwant:\n%s", f.Name, got[f.Name], f.Data)
				}
			}
		})
	}
}
