package recorded_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/test/recorded"
)

// TestAnswers plays what a Kubernetes 1.36 API server answered to requests that once
// were answered otherwise here; `differ -record` wrote the files.
func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/answers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	p := &recorded.Player{URL: newServer(t).URL, Wait: *wait, Client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	for _, path := range files {
		f, err := recorded.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(f.Name, func(t *testing.T) {
			results, err := p.Play(context.Background(), f)
			if err != nil {
				t.Fatal(err)
			}
			for i := range results {
				if r := &results[i]; r.Compared && !r.Equal {
					t.Errorf("step %d: %s %s (%s)\n%s", r.Index, r.Step.Method, r.Step.Path, r.Step.About, recorded.Diff(r.Want, r.Got))
				}
			}
		})
	}
}
