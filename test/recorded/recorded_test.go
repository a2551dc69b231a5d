package recorded_test

import (
	"context"
	"flag"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/test/recorded"
	"skiff.dev/skiff/test/recorded/judge"
)

var (
	only = flag.String("file", "", "play only files whose names contain this")
	wait = flag.Duration("wait", 200*time.Millisecond, "how long steps wait for what controllers do; none run here")
	diff = flag.Bool("diff", false, "print the answers that differ")
)

// floors are how many answers of each file were equal when it was last looked at;
// fewer is a fault.
var floors = map[string]int{
	"a-admissionregistration": 64,
	"a-apps-daemonset":        26,
	"a-apps-deployment":       41,
	"a-autoscaling":           37,
	"a-batch-job":             41,
	"a-core-config":           57,
	"a-core-misc":             79,
	"a-core-pod-invalid":      55,
	"a-core-pod":              45,
	"a-core-volumes":          53,
	"a-flowcontrol-apireg":    30,
	"a-networking":            70,
	"a-scheduling-node":       61,
	"b-content-types":         39,
	"b-jsonpatch":             29,
	"b-ssa-basic":             31,
	"b-ssa-deployment":        14,
	"b-strategic":             30,
	"c-errors":                66,
	"c-selectors":             50,
	"c-watch":                 19,
	"d-discovery":             41,
	"d-openapi":               14,
	"e-cr-cel":                24,
	"e-cr-subresources":       27,
	"e-cr-validation":         53,
	"e-crd-lifecycle":         47,
	"f-admission-policy":      12,
	"f-authz":                 60,
	"f-bootstrap-rbac":        24,
	"f-client-flows":          25,
	"f-finalizers-owners":     35,
	"f-namespaces":            19,
	"f-pod-subresources":      37,
	"f-podsecurity":           23,
}

// TestRecorded plays every file against one server and prints how many answers
// are equal.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(judge.Dir(t, "recorded"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	h := newServer(t)
	p := &recorded.Player{URL: h.URL, Wait: *wait, Client: &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	score := judge.Score{Floors: floors}
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
		score.File(t, f.Name, good, n)
	}
	score.All(t)
}
