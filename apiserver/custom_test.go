package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/custom/customtest"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

// api is a server with discovery and OpenAPI, asked without a network.
type api struct {
	testing.TB
	*apiserver.Server
	closed sync.Once
}

// Close stops the server; the test's end does too.
func (a *api) Close() { a.closed.Do(a.Server.Close) }

func newAPI(t testing.TB, s store.Store, hooks *callout.Clients) *api {
	t.Helper()
	table := all.Table()
	docs := discovery.New(discovery.Options{Table: table})
	apis := openapi.New(openapi.Options{Table: table, Version: "v1.36.3"})
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: table, Scheme: scheme.New(), Discovery: docs, OpenAPI: apis, Callouts: hooks, OldVersions: true,
		Paths: []apiserver.PathHandler{{Path: "/apis/", Handler: docs}, {Path: "/apis", Handler: docs}, {Path: "/openapi/", Handler: apis}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{TB: t, Server: srv}
	t.Cleanup(a.Close)
	return a
}

func newMemAPI(t testing.TB) *api {
	s := mem.New()
	t.Cleanup(func() { s.Close() })
	return newAPI(t, s, nil)
}

// send does a request; body is sent as it is if it is a string, else as JSON.
func (a *api) send(method, path string, body any, contentType string) (int, map[string]any, http.Header) {
	a.Helper()
	var b []byte
	switch x := body.(type) {
	case nil:
	case string:
		b = []byte(x)
	default:
		var err error
		if b, err = json.Marshal(body); err != nil {
			a.Fatal(err)
		}
	}
	r := httptest.NewRequestWithContext(a.Context(), method, path, bytes.NewReader(b))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	out := map[string]any{}
	if json.Unmarshal(w.Body.Bytes(), &out) != nil {
		out["text"] = w.Body.String()
	}
	return w.Code, out, w.Header()
}

func (a *api) must(code int, method, path string, body any) map[string]any {
	a.Helper()
	got, out, _ := a.send(method, path, body, "application/json")
	if got != code {
		a.Fatalf("%s %s: %d, want %d: %v", method, path, got, code, out)
	}
	return out
}

const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// installed installs n definitions and returns the memory that each takes.
func installed(t testing.TB, a *api, n int) uint64 {
	a.must(201, "POST", crds, customtest.Definition(0)) // what all share
	before := heap()
	for i := 1; i <= n; i++ {
		a.must(201, "POST", crds, customtest.Definition(i))
	}
	return (max(heap(), before) - before) / uint64(n)
}

// TestMemory holds that a definition as operators install them takes less than 1 MB
// while it is only installed.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("installs definitions")
	}
	a := newMemAPI(t)
	each := installed(t, a, 12)
	t.Logf("%d KB a definition", each>>10)
	if each > 300<<10 {
		t.Errorf("%d KB a definition", each>>10)
	}
}

// BenchmarkDefinitions installs 500 definitions, makes an object of each, and says
// what memory they take.
func BenchmarkDefinitions(b *testing.B) {
	n := 500
	if s := os.Getenv("SKIFF_DEFINITIONS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		a := newMemAPI(b)
		each := installed(b, a, n)
		before := heap()
		for i := 1; i <= n; i++ {
			d := customtest.Definition(i)
			code, out, _ := a.send("POST", fmt.Sprintf("/apis/%s/v1/namespaces/default/%s", d.Spec.Group, d.Spec.Names.Plural),
				map[string]any{"apiVersion": d.Spec.Group + "/v1", "kind": d.Spec.Names.Kind, "metadata": map[string]any{"name": "a"}, "spec": map[string]any{}}, "application/json")
			if code != 201 && !strings.Contains(fmt.Sprint(out), "is invalid") {
				b.Fatal(code, out)
			}
		}
		used := (max(heap(), before) - before) / uint64(n)
		b.ReportMetric(float64(each)/1024, "KB/definition")
		b.ReportMetric(float64(used)/1024, "KB/used")
	}
}
