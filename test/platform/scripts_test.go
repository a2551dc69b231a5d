package platform

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/*.txtar, each in a namespace named after it, against
// one instance. Besides testscript's own commands there are:
//
//	exec kubectl ARGS    skiff under the name kubectl, in the script's namespace
//	exec skiff ARGS      the program, for this instance
//	exec standin ARGS    the stand-in (see image/main.go) on the machine itself
//	eventually COMMAND   the command until it succeeds, 30 s at most; its output is
//	                     then what stdout and stderr look at
//	until TEXT COMMAND   the command until its output has TEXT (a regular expression)
func TestScripts(t *testing.T) { runScripts(t, sharedCluster(t), scripts(t, "testdata")...) }

// TestScriptsAlone runs testdata/alone/*.txtar, which touch what a whole cluster has
// in common (its nodes, its API groups), each against an instance that nothing else
// uses.
func TestScriptsAlone(t *testing.T) {
	for _, file := range scripts(t, "testdata/alone") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runScripts(t, own(t), file) })
	}
}

func scripts(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	return files
}

func runScripts(t *testing.T, c *cluster, files ...string) {
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			ns := namespaceOf(env.WorkDir)
			for k, v := range c.env() {
				env.Setenv(k, v)
			}
			kubeconfig := filepath.Join(env.WorkDir, ".kubeconfig")
			env.Setenv("KUBECONFIG", kubeconfig)
			env.Setenv("NS", ns)
			env.Setenv("NODE_IP", c.nodeIP)
			env.Setenv("PATH", c.binDir+":"+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			raw, err := os.ReadFile(filepath.Join(c.data, "admin.kubeconfig"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(kubeconfig, raw, 0o600); err != nil {
				return err
			}
			for _, args := range [][]string{
				{"create", "namespace", ns},
				{"config", "set-context", "--current", "--namespace=" + ns},
			} {
				cmd := exec.Command(filepath.Join(c.binDir, "kubectl"), args...)
				cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
				}
			}
			env.Defer(func() {
				cmd := exec.Command(filepath.Join(c.binDir, "kubectl"), "delete", "namespace", ns, "--wait=false")
				cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
				_ = cmd.Run()
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": func(ts *testscript.TestScript, neg bool, args []string) { retry(ts, neg, nil, args) },
			"until": func(ts *testscript.TestScript, neg bool, args []string) {
				if len(args) < 2 {
					ts.Fatalf("usage: until TEXT COMMAND...")
				}
				retry(ts, neg, &args[0], args[1:])
			},
		},
	})
}

func namespaceOf(workDir string) string {
	name := strings.TrimPrefix(filepath.Base(workDir), "script-")
	return "t-" + strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

// sharedCluster starts the instance that scripts share, once, and stops it at the
// end of the test binary.
func sharedCluster(t *testing.T) *cluster {
	t.Helper()
	needRoot(t)
	shared.once.Do(func() { shared.cluster, shared.err = startCluster(shared.dir) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func retry(ts *testscript.TestScript, neg bool, text *string, args []string) {
	if neg {
		ts.Fatalf("cannot be negated")
	}
	var last string
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		err := ts.Exec(args[0], args[1:]...)
		last = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if err == nil && (text == nil || matches(ts, *text, last)) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	ts.Fatalf("not within 30 s: %q; the last output was\n%s", args, bytes.TrimSpace([]byte(last)))
}
