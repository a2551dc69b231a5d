package recorded_test

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/test/recorded"
)

var (
	only = flag.String("file", "", "play only files whose names contain this")
	wait = flag.Duration("wait", 200*time.Millisecond, "how long steps wait for what controllers do; none run here")
	diff = flag.Bool("diff", false, "print the answers that differ")
)

// sharedDir finds the recordings beside the repository.
func sharedDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SKIFF_SHARED"); dir != "" {
		return filepath.Join(dir, "recorded")
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "shared", "recorded")
		if _, err := os.Stat(at); err == nil {
			return at
		}
	}
	t.Skip("needs the recorded answers beside the repository")
	return ""
}

// TestRecorded plays every file against one server and prints how many answers
// are equal.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(sharedDir(t), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	h := newServer(t)
	p := &recorded.Player{URL: h.URL, Wait: *wait, Client: &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	equal, all := 0, 0
	for _, path := range files {
		if !strings.Contains(filepath.Base(path), *only) {
			continue
		}
		f, err := recorded.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := p.Play(context.Background(), f)
		if err != nil {
			t.Errorf("play: %v", err)
		}
		good, n := 0, 0
		for i := range rs {
			r := &rs[i]
			if !r.Compared {
				continue
			}
			n++
			if r.Equal {
				good++
				continue
			}
			if *diff {
				t.Logf("%s step %d: %s %s (%s)\n%s", f.Name, r.Index, r.Step.Method, r.Step.Path, r.Step.About, recorded.Diff(r.Want, r.Got))
			}
		}
		t.Logf("%-28s %4d of %4d equal", f.Name, good, n)
		equal += good
		all += n
	}
	t.Logf("%-28s %4d of %4d equal", "all", equal, all)
}
