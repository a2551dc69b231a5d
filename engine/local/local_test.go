package local

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

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/mount"
	"skiff.dev/skiff/telemetry"
)

// monitorProgram is built once, in TestMain.
var monitorProgram string

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childMain()
		return
	}
	dir, err := os.MkdirTemp("", "skiff-engine-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	monitorProgram = filepath.Join(dir, "skiff-monitor")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", monitorProgram, "skiff.dev/skiff/engine/monitor/cmd/skiff-monitor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func program() ([]byte, error) { return os.ReadFile(monitorProgram) }

// options are those of an engine of its own for a test; what it leaves on the
// machine at the test's end is an error.
func options(t testing.TB) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers")
	}
	base := t.TempDir()
	o := Options{
		Root: filepath.Join(base, "data"), RunDir: filepath.Join(base, "run"),
		Instance: "engine-test-" + filepath.Base(filepath.Dir(base)) + "-" + filepath.Base(base), Monitor: program,
		Telemetry: telemetry.New(testWriter{t}, nil), Runtime: os.Getenv("SKIFF_TEST_RUNTIME"),
	}
	o.Instance = strings.NewReplacer("/", "-").Replace(o.Instance)
	if len(o.Instance) > 60 {
		o.Instance = o.Instance[len(o.Instance)-60:]
	}
	t.Cleanup(func() {
		if err := Wipe(context.Background(), o); err != nil {
			t.Error("wipe: ", err)
		}
		left, err := mount.Below(base)
		if err != nil || len(left) > 0 {
			t.Errorf("mounts left: %v %v", left, err)
		}
		tree, err := cgroup.Detect()
		if err != nil {
			t.Error(err)
			return
		}
		if n, err := tree.Children("/skiff-" + o.Instance); err == nil {
			t.Errorf("control groups left: %v", n)
		}
	})
	return o
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	// Late lines, after the test's end, are nobody's.
	defer func() { recover() }()
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func open(t testing.TB, o Options) *Local {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestSuite(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) engine.Engine {
		l := open(t, options(t))
		if _, err := l.Images().Load(t.Context(), bytes.NewReader(enginetest.Busybox(t, "busybox:latest")), ""); err != nil {
			t.Fatal(err)
		}
		return l
	})
}
