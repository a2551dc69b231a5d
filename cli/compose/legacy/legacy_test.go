package legacy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write what was found into the scripts")

// TestConvert plays testdata/*.txtar: "in" is a file of version 1, "want" what it
// becomes or the error.
func TestConvert(t *testing.T) {
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
			got, err := Convert(ar.Files[0].Data)
			if err != nil {
				got = []byte("error: " + err.Error() + "\n")
			}
			if *rewrite {
				ar.Files = append(ar.Files[:1], txtar.File{Name: "want", Data: got})
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := ar.Files[1].Data; !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func FuzzConvert(f *testing.F) {
	f.Add([]byte("web:\n  image: a\n  links: \"db:x\"\ndb:\n  build: .\n  dockerfile: D\n  volumes: [a:/b]\n"))
	f.Add([]byte("a: &x\n  image: a\n  links: [*x]\nb:\n  <<: *x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Convert(text)
		if err != nil || !Is(text) {
			return
		}
		var any map[string]any
		if err := yaml.Unmarshal(text, &any); err != nil {
			return // anchors without an end, keys of odd types: the reader's to refuse
		}
		if Is(got) {
			t.Errorf("%q is still of version 1:\n%s", text, got)
		}
	})
}
