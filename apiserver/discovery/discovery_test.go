package discovery

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/core"
)

func table(t *testing.T) *kinds.Table {
	t.Helper()
	return kinds.NewTable(core.Kinds(), []*kinds.Kind{
		{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Singular: "deployment", Namespaced: true,
			Served: []kinds.Version{{Group: "apps", Version: "v1"}, {Group: "apps", Version: "v1beta2", Old: true}, {Group: "extensions", Version: "v1beta1", Old: true}}},
	})
}

type answer struct {
	status  int
	headers map[string][]string
	body    string
}

func ask(h *Handler, method, path string, headers ...string) answer {
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

// TestRecordedDiscovery compares every document with what Kubernetes 1.36 answered.
func TestRecordedDiscovery(t *testing.T) {
	shared := os.Getenv("SKIFF_SHARED")
	for dir, _ := os.Getwd(); shared == "" && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			shared = filepath.Join(dir, "shared")
		}
	}
	b, err := os.ReadFile(filepath.Join(shared, "recorded", "d-discovery.json"))
	if err != nil {
		t.Skipf("needs recorded answers: %v", err)
	}
	var file struct {
		Steps []struct {
			Method, Path    string
			Status          int
			Response        json.RawMessage
			ResponseHeaders map[string]string
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	h := New(Options{Table: all.Table(), HideOld: true, ServerAddress: "<server>"})
	for _, s := range file.Steps {
		got := ask(h, s.Method, s.Path, "Accept", "application/json")
		if got.status != s.Status || got.headers["Content-Type"][0] != s.ResponseHeaders["Content-Type"] {
			t.Errorf("%s %s: %d %v, want %d %v", s.Method, s.Path, got.status, got.headers, s.Status, s.ResponseHeaders)
		}
		compare(t, s.Path, got.body, s.Response)
	}
}

func compare(t *testing.T, path, body string, want json.RawMessage) {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(body), &x) != nil {
		x = body
	}
	if err := json.Unmarshal(want, &y); err != nil {
		t.Fatal(err)
	}
	mask(x)
	if reflect.DeepEqual(x, y) {
		return
	}
	a, _ := json.MarshalIndent(x, "", " ")
	b, _ := json.MarshalIndent(y, "", " ")
	t.Errorf("%s: differs\n%s", path, firstDifference(string(a), string(b)))
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			from := max(0, i-8)
			return "got:\n" + strings.Join(x[from:min(len(x), i+8)], "\n") + "\nwant:\n" + strings.Join(y[from:min(len(y), i+8)], "\n")
		}
	}
	return "want more: " + strings.Join(y[len(x):], "\n")
}

func mask(x any) {
	if m, ok := x.(map[string]any); ok {
		if list, ok := m["resources"].([]any); ok {
			for _, r := range list {
				delete(r.(map[string]any), "storageVersionHash")
			}
		}
	}
}

func TestOldVersions(t *testing.T) {
	shown := New(Options{Table: table(t)})
	if a := ask(shown, "GET", "/apis/apps"); !strings.Contains(a.body, `"versions":[{"groupVersion":"apps/v1","version":"v1"},{"groupVersion":"apps/v1beta2","version":"v1beta2"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}`) {
		t.Error(a.body)
	}
	if a := ask(shown, "GET", "/apis/extensions/v1beta1"); a.status != 200 || !strings.Contains(a.body, "deployments") {
		t.Error(a)
	}
	hidden := New(Options{Table: table(t), HideOld: true})
	if a := ask(hidden, "GET", "/apis/extensions/v1beta1"); a.status != 404 {
		t.Error(a)
	}
}

func TestAggregated(t *testing.T) {
	h := New(Options{Table: table(t)})
	const kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
	for path, want := range map[string][]string{"/api": {""}, "/apis": {"apps", "extensions"}} {
		a := ask(h, "GET", path, "Accept", kubectl)
		if ct := a.headers["Content-Type"][0]; ct != "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" {
			t.Error(ct)
		}
		var list apidiscoveryv2.APIGroupDiscoveryList
		if err := json.Unmarshal([]byte(a.body), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range list.Items {
			names = append(names, g.Name)
		}
		if !slices.Equal(names, want) || list.APIVersion != "apidiscovery.k8s.io/v2" {
			t.Errorf("%s: %v", path, names)
		}
		etag := a.headers["Etag"][0]
		if a := ask(h, "GET", path, "Accept", kubectl, "If-None-Match", etag); a.status != 304 || a.body != "" {
			t.Errorf("%s: %d", path, a.status)
		}
		h.SetExtra([]*kinds.Kind{{Group: "example.com", Version: "v1", Kind: "X", Resource: "xs", Served: []kinds.Version{{Group: "example.com", Version: "v1"}}}})
		if a := ask(h, "GET", path, "Accept", kubectl, "If-None-Match", etag); (a.status == 304) != (path == "/api") {
			t.Errorf("%s after a new kind: %d", path, a.status)
		}
		h.SetExtra(nil)
	}
}

func TestNegotiation(t *testing.T) {
	h := New(Options{Table: table(t)})
	for accept, want := range map[string]string{
		"":                                    mediaJSON,
		"*/*":                                 mediaJSON,
		"application/yaml":                    mediaYAML,
		"application/vnd.kubernetes.protobuf": mediaProto,
		"application/vnd.kubernetes.protobuf,application/json":                                   mediaProto,
		"application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,*/*":               mediaJSON,
		"application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList": mediaJSON,
	} {
		if a := ask(h, "GET", "/apis", "Accept", accept); a.status != 200 || a.headers["Content-Type"][0] != want {
			t.Errorf("%q: %d %v, want %s", accept, a.status, a.headers["Content-Type"], want)
		}
	}
	if a := ask(h, "GET", "/apis", "Accept", "text/html"); a.status != 406 {
		t.Error(a.status)
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,*/*", "/apis/apps/v1/")
	h := New(Options{Table: kinds.NewTable()})
	f.Fuzz(func(t *testing.T, accept, path string) {
		if media, refusal := negotiate([]string{accept}, true); (media == "") != (refusal != nil) {
			t.Errorf("%q: %q and %v", accept, media, refusal)
		}
		if Handles(path) {
			h.documents()
		}
	})
}
