package compose

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/tools/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write what was found into the scripts")

// TestScripts plays testdata/*.txtar against an engine in memory. Files up to the
// first whose name begins with "compose " are laid into a directory called shop;
// the others are calls in order, with what they print, what they change on the
// engine and how they fail. "> NAME" in front of a call replaces a file.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) { play(t, path) })
	}
}

func play(t *testing.T, path string) {
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("DOCKER_CONFIG", dir)
	engine := newFake("web", "db", "seed", "fails")
	engine.code["seed"], engine.code["fails"] = 0, 3
	for i, f := range ar.Files {
		call, ok := strings.CutPrefix(f.Name, "compose ")
		if !ok {
			if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got := answer(engine, dir, strings.Fields(call))
		if *rewrite {
			ar.Files[i].Data = []byte(got)
		} else if want := string(f.Data); got != want {
			t.Errorf("compose %s\ngot:\n%s\nwant:\n%s", call, got, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func answer(engine *fake, dir string, args []string) string {
	var out bytes.Buffer
	root := &cobra.Command{Use: "skiff", SilenceUsage: true, SilenceErrors: true, TraverseChildren: true}
	root.AddCommand((&app{socket: func() string { return "" }, docker: engine.command, dial: func(string) (docker, error) { return engine, nil }}).command())
	root.SetArgs(append([]string{"compose", "--progress", "quiet"}, args...))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(context.Background())
	for _, line := range strings.SplitAfter(engine.told(), "\n") {
		if line != "" {
			out.WriteString("engine: " + line)
		}
	}
	if err != nil {
		out.WriteString("error: " + err.Error() + "\n")
	}
	text := strings.ReplaceAll(out.String(), dir, "$DIR")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out, &out, false, true)
	p.expect("longer-1")
	l := &lines{p: p, to: &out, name: "web-1"}
	for _, part := range []string{"a", "b\nc\r\n", "\n", "end"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.Close()
	want := "web-1     | ab\nweb-1     | c\nweb-1     | \nweb-1     | end\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
