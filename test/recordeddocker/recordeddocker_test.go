package recordeddocker_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"skiff.dev/skiff/cli"
	"skiff.dev/skiff/kernel/link"
	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/test/recorded/judge"
	"skiff.dev/skiff/test/recordeddocker"
)

var (
	docker = flag.String("docker", "", "play against the engine at this address (unix:///run/docker.sock) instead of one of the test's own")
	only   = flag.String("file", "", "play only files whose names contain this")
	keep   = flag.Bool("keep", false, "leave the engine of the test's own running, and print where")
	diff   = flag.Bool("diff", false, "print the answers that differ")
)

// floors are how many answers of each file were equal when it was last looked at;
// fewer is a fault.
var floors = map[string]int{
	"a-info-df":           14,
	"a-ping-version":      25,
	"b-load-inspect":      62,
	"b-save-push":         51,
	"c-archive":           38,
	"c-create-bad":        73,
	"c-create-defaults":   20,
	"c-create-hostconfig": 35,
	"c-lifecycle":         82,
	"d-exec":              56,
	"e-network-crud":      66,
	"f-volume-crud":       59,
	"g-build-errors":      72,
	"h-swarm":             50,
	"i-flow-compose":      20,
}

// TestRecordedDocker plays every file against an engine and prints how many answers
// are equal. It uses the recordings beside the repository.
func TestRecordedDocker(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(judge.Dir(t, "recorded-docker"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	score := judge.Score{Floors: floors}
	if *docker != "" {
		score.Floors = nil
	}
	engine := startEngine(t)
	for _, path := range files {
		if strings.Contains(filepath.Base(path), *only) {
			playFile(t, engine, path, &score)
		}
	}
	score.All(t)
}

func playFile(t *testing.T, engine *recordeddocker.Engine, path string, score *judge.Score) {
	t.Helper()
	f, err := recordeddocker.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	results, err := recordeddocker.Play(context.Background(), engine, f)
	if err != nil {
		t.Errorf("play: %v", err)
	}
	equal, all := 0, 0
	for i := range results {
		r := &results[i]
		switch {
		case !r.Compared:
			continue
		case r.Equal:
			equal++
		case *diff:
			t.Logf("%s step %d: %s %s (%s)\n%s", f.Name, r.Index, r.Step.Method, r.Step.Path, r.Step.About, recordeddocker.Diff(r.Want, r.Got))
		}
		all++
	}
	score.File(t, f.Name, equal, all)
}

// program is the skiff to test.
func program() (string, error) {
	p := os.Getenv("SKIFF")
	if p == "" {
		p = "../../bin/skiff"
	}
	p, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(p)
	return p, err
}

// startEngine is the engine that the test is played against: the one of -docker, or
// a `skiff engine` in temporary directories and a network namespace of its own.
func startEngine(t *testing.T) *recordeddocker.Engine {
	t.Helper()
	address := *docker
	var listen func(network, address string) (net.Listener, error)
	if address == "" {
		address, listen = startSkiff(t)
	}
	e, err := recordeddocker.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	e.Listen = listen
	return e
}

func startSkiff(t *testing.T) (address string, listen func(network, address string) (net.Listener, error)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes containers, interfaces and mounts")
	}
	skiff, err := program()
	if err != nil {
		t.Skip("needs the program to test (make build): ", err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	host, err := link.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if err := host.Up("lo"); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir(): where unmounting fails, nothing below is to be removed.
	dir, err := os.MkdirTemp("", "skiff-recorded-")
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) error {
		cmd := exec.Command(skiff, args...)
		cmd.Env = append(os.Environ(), "SKIFF_DATA_DIR="+filepath.Join(dir, "data"), "SKIFF_RUN_DIR="+filepath.Join(dir, "run"))
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil {
			return fmt.Errorf("skiff %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	t.Cleanup(func() {
		if *keep {
			t.Logf("SKIFF_DATA_DIR=%[1]s/data SKIFF_RUN_DIR=%[1]s/run", dir)
			return
		}
		if err := command("reset", "--yes"); err != nil {
			t.Error(err)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := command("engine", "--detach"); err != nil {
		t.Fatal(err)
	}
	return "unix://" + filepath.Join(dir, "run", cli.DockerSocket), func(network, address string) (l net.Listener, err error) {
		err = ns.Do(func() (err error) {
			l, err = net.Listen(network, address)
			return err
		})
		return l, err
	}
}
