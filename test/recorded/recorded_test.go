package recorded_test

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
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

// admin authenticates every request as an administrator.
type admin struct{}

func (admin) Authenticate(*http.Request) (*auth.User, bool, error) {
	return &auth.User{Name: "admin", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}, true, nil
}

func newServer(t testing.TB) *httptest.Server {
	t.Helper()
	s := mem.New()
	index := rbac.New()
	var rbacKinds []schema.GroupResource
	for _, r := range []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
		rbacKinds = append(rbacKinds, schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: r})
	}
	table := all.Table()
	docs := discovery.New(discovery.Options{Table: table, ServerAddress: "127.0.0.1:6443"})
	apis := openapi.New(openapi.Options{Table: table, Version: "v1.36.3"})
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: table, Scheme: scheme.New(),
		Authenticator: admin{}, Authorizer: auth.Chain{auth.Masters{}, index}, Rules: index,
		Feeds:       []apiserver.Feed{{Resources: rbacKinds, Apply: index.Apply}},
		OldVersions: true,
		Paths: []apiserver.PathHandler{
			{Path: "/api", Handler: docs}, {Path: "/api/", Handler: docs}, {Path: "/apis", Handler: docs}, {Path: "/apis/", Handler: docs},
			{Path: "/openapi/", Handler: apis},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(srv.Handler())
	t.Cleanup(func() {
		h.Close()
		srv.Close()
		s.Close()
	})
	return h
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
