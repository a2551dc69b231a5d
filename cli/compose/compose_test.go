package compose

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/compose/composetest"
)

// TestScripts plays testdata/*.txtar against an engine in memory. Files up to the
// first whose name begins with "compose " are laid into a directory called shop;
// the others are calls in order, with what they print, what they change on the
// engine and how they fail. "> NAME" in front of a call replaces a file.
func TestScripts(t *testing.T) {
	composetest.Play(t, func(t *testing.T, s *composetest.Script) {
		dir := filepath.Join(t.TempDir(), "shop")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir)
		t.Setenv("DOCKER_CONFIG", dir)
		engine := newFake("web", "db", "seed", "fails")
		engine.code["seed"], engine.code["fails"] = 0, 3
		for i, f := range s.Files {
			if call, ok := strings.CutPrefix(f.Name, "compose "); ok {
				s.Got(i, answer(engine, dir, strings.Fields(call)))
				continue
			}
			if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
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
