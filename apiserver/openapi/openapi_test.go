package openapi

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
)

func table() *kinds.Table { return all.Table() }

func ask(h *Handler, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), "GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// at follows a path as the recordings write it.
func at(v any, path string) (any, bool) {
	if path == "." {
		return v, true
	}
	for _, seg := range strings.Split(path, "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[strings.ReplaceAll(strings.ReplaceAll(seg, "~1", "/"), "~0", "~")]; !ok {
			return nil, false
		}
	}
	return v, true
}

func TestRecordedDocuments(t *testing.T) {
	shared := os.Getenv("SKIFF_SHARED")
	for dir, _ := os.Getwd(); shared == "" && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			shared = filepath.Join(dir, "shared")
		}
	}
	b, err := os.ReadFile(filepath.Join(shared, "recorded", "d-openapi.json"))
	if err != nil {
		t.Skipf("needs recorded answers: %v", err)
	}
	var file struct {
		Steps []struct {
			Path            string
			Headers         map[string]string
			Status          int
			ResponseHeaders map[string]string
			Keep, Keys      []string
			Response        json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	h := New(Options{Table: table(), HideOld: true, Version: "v1.36.3"})
	compared := 0
	for _, s := range file.Steps {
		got := ask(h, s.Path, "Accept", s.Headers["Accept"])
		if got.Code != s.Status || got.Header().Get("Content-Type") != s.ResponseHeaders["Content-Type"] {
			t.Errorf("%s: %d %s, want %d %s", s.Path, got.Code, got.Header().Get("Content-Type"), s.Status, s.ResponseHeaders["Content-Type"])
		}
		if s.Status != 200 {
			continue
		}
		var doc any
		if err := json.Unmarshal(got.Body.Bytes(), &doc); err != nil {
			t.Fatal(s.Path, err)
		}
		var want map[string]any
		if err := json.Unmarshal(s.Response, &want); err != nil {
			t.Fatal(err)
		}
		for _, p := range s.Keep {
			v, _ := at(doc, p)
			b, _ := json.Marshal(v)
			if i := strings.Index(string(b), "?hash="); i >= 0 {
				b = append(b[:i:i], `?hash=<hash>"}`...)
				_ = json.Unmarshal(b, &v)
			}
			if compared++; !reflect.DeepEqual(v, want[p]) {
				w, _ := json.Marshal(want[p])
				t.Errorf("%s %s:\n got %.3000s\nwant %.3000s", s.Path, p, b, w)
			}
		}
		for _, p := range s.Keys {
			v, _ := at(doc, p)
			m, _ := v.(map[string]any)
			have := map[string]bool{}
			for k := range m {
				have[k] = true
			}
			wanted, _ := want["keys:"+p].([]any)
			for _, k := range wanted {
				if !have[k.(string)] {
					t.Errorf("%s %s: missing %s", s.Path, p, k)
				}
				delete(have, k.(string))
			}
			for k := range have {
				t.Errorf("%s %s: more: %s", s.Path, p, k)
			}
			compared++
		}
	}
	if compared < 15 {
		t.Errorf("only %d comparisons", compared)
	}
}

// TestReferencesResolve finds every reference of every document in it.
func TestReferencesResolve(t *testing.T) {
	h := New(Options{Table: table(), Version: "v1.36.3"})
	check := func(path, prefix string, schemas ...string) {
		body := ask(h, path).Body.String()
		var doc any
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(path, err)
		}
		v, _ := at(doc, strings.Join(schemas, "/"))
		m, _ := v.(map[string]any)
		references(body, prefix, func(name string) {
			if m[name] == nil {
				t.Errorf("%s refers to %s, which is not there", path, name)
			}
		})
	}
	check("/openapi/v2", refV2, "definitions")
	for _, p := range h.state().paths() {
		check("/openapi/v3/"+p, refV3, "components", "schemas")
	}
}

func TestProtobuf(t *testing.T) {
	h := New(Options{Table: table(), Version: "v1.36.3"})
	w := ask(h, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	var two openapi_v2.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &two); err != nil || len(two.Definitions.AdditionalProperties) < 200 {
		t.Errorf("version 2: %v", err)
	}
	w = ask(h, "/openapi/v3/apis/apps/v1", "Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf")
	var three openapi_v3.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &three); err != nil || len(three.Paths.Path) == 0 {
		t.Errorf("version 3: %v", err)
	}
}

func TestHashes(t *testing.T) {
	h := New(Options{Table: table(), Version: "v1.36.3"})
	hash := h.state().hash("apis/apps/v1")
	w := ask(h, "/openapi/v3/apis/apps/v1?hash="+hash)
	if w.Code != 200 || w.Header().Get("Cache-Control") != "public, immutable" {
		t.Error(w.Code, w.Header())
	}
	if w := ask(h, "/openapi/v3/apis/apps/v1", "If-None-Match", w.Header().Get("ETag")); w.Code != 304 {
		t.Error(w.Code)
	}
	if w := ask(h, "/openapi/v3/apis/apps/v1?hash=old"); w.Code != 301 || !strings.HasSuffix(w.Header().Get("Location"), "?hash="+hash) {
		t.Error(w.Code, w.Header())
	}
	all := h.state().hash("")
	h.SetExtra([]Extra{{Kind: &kinds.Kind{Group: "example.com", Version: "v1", Kind: "Tab", List: "TabList", Resource: "tabs", Namespaced: true, Served: []kinds.Version{{Group: "example.com", Version: "v1"}}},
		Schema: func(bool) (json.RawMessage, error) {
			return json.RawMessage(`{"type":"object","properties":{"spec":{"type":"object"}},"x-kubernetes-group-version-kind":[{"group":"example.com","kind":"Tab","version":"v1"}]}`), nil
		}, Digest: "1"}})
	if h.state().hash("apis/apps/v1") != hash || h.state().hash("") == all {
		t.Error("a new kind changes the hash of its own document and of the whole alone")
	}
	var doc any
	if err := json.Unmarshal(ask(h, "/openapi/v3/apis/example.com/v1").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	v, _ := at(doc, "components/schemas/com.example.v1.Tab")
	if m, _ := v.(map[string]any); m == nil || m["x-kubernetes-group-version-kind"] == nil || m["properties"] == nil {
		t.Errorf("%v", v)
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "/openapi/v3/apis/apps/v1?hash=x")
	f.Add("*/*;q=0.1,application/json", "/openapi/v3/api//v1")
	f.Fuzz(func(t *testing.T, accept, path string) {
		switch m := negotiate([]string{accept}, mediaProtoV3); m {
		case "", mediaJSON, mediaProtoV3:
		default:
			t.Errorf("%q", m)
		}
		versionOf(strings.Trim(path, "/"))
	})
}

func BenchmarkDocument(b *testing.B) {
	for _, c := range []struct{ path, accept string }{
		{"/openapi/v3/apis/apps/v1", mediaJSON}, {"/openapi/v3/api/v1", mediaJSON}, {"/openapi/v3/apis/apps/v1", mediaProtoV3},
		{"/openapi/v3/api/v1", mediaProtoV3}, {"/openapi/v2", mediaJSON}, {"/openapi/v2", mediaProtoV2},
	} {
		b.Run(c.path[len("/openapi/"):]+" "+c.accept[len(c.accept)-8:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(New(Options{Table: table(), Version: "v1.36.3"}), c.path, "Accept", c.accept, "Accept-Encoding", "gzip")
			}
		})
	}
}
