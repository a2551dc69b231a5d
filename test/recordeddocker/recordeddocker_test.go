package recordeddocker_test

import (
	"context"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"skiff.dev/skiff/test/recorded/judge"
	"skiff.dev/skiff/test/recordeddocker"
)

var (
	docker = flag.String("docker", "", "play against the engine at this address (unix:///run/docker.sock) instead of one of the test's own")
	only   = flag.String("file", "", "play only files whose names contain this")
	diff   = flag.Bool("diff", false, "print the answers that differ")
)

// floors are how many answers of each file were equal when it was last looked at;
// fewer is a fault.
var floors = map[string]int{}

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

// startEngine is the engine that the test is played against.
func startEngine(t *testing.T) *recordeddocker.Engine {
	t.Helper()
	if *docker == "" {
		t.Skip("needs -docker")
	}
	e, err := recordeddocker.Dial(*docker)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
