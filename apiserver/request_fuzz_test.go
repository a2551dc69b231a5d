package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// leaver is a client that goes as soon as a stream begins.
type leaver struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (l leaver) Flush() { l.leave() }

// FuzzRequest sends anything to the whole server: paths, queries (selectors, continue
// tokens, options of lists, tables, patches and deletions), media types and bodies of
// all forms. Nothing makes it panic or answer with what is no answer.
func FuzzRequest(f *testing.F) {
	s := mem.New()
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: all.Table(), Scheme: scheme.New(), OldVersions: true,
		Admission: append(admit.Default(admit.Options{}), &admit.ResourceQuota{}),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { srv.Close(); s.Close() })
	h := srv.Handler()
	const (
		js, ya, pb = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
		table      = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
		part       = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
		pods       = "/api/v1/namespaces/default/pods"
		maps       = "/api/v1/namespaces/default/configmaps"
		deploys    = "/apis/apps/v1/namespaces/default/deployments"
	)
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"serviceAccountName":"default","containers":[{"name":"c","image":"i"}]}}`
	deploy := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	for _, x := range []struct{ method, path, query, media, accept, body string }{
		{"POST", maps, "", js, js, `{"metadata":{"name":"c"},"data":{"a":"b"}}`},
		{"POST", "/api/v1/namespaces/default/serviceaccounts", "", js, js, `{"metadata":{"name":"default"}}`},
		{"POST", pods, "fieldValidation=Strict&dryRun=All", js, table, pod},
		{"POST", deploys, "fieldManager=f", ya, ya, deploy},
		{"POST", maps, "", pb, pb, "k8s\x00\n\x0f\n\x02v1\x12\x09ConfigMap\x12\x07\n\x05\n\x03abc\x1a\x00\"\x00"},
		{"GET", maps, "labelSelector=a+in+(b,c),!d&fieldSelector=metadata.name!%3Dx&limit=1", "", js, ""},
		{"GET", maps, "limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJkZWZhdWx0L2EifQ", "", pb, ""},
		{"GET", pods, "includeObject=Object&resourceVersion=0", "", table, ""},
		{"GET", pods, "resourceVersion=5&resourceVersionMatch=Exact&limit=2", "", part, ""},
		{"GET", maps, "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "", js, ""},
		{"GET", "/api/v1/watch/pods", "", "", pb, ""},
		{"PUT", maps + "/c", "", js, js, `{"metadata":{"name":"c","resourceVersion":"1"}}`},
		{"PATCH", maps + "/c", "", "application/merge-patch+json", js, `{"data":{"a":null}}`},
		{"PATCH", maps + "/c", "", "application/json-patch+json", js, `[{"op":"test","path":"/data/a","value":"b"},{"op":"move","from":"/data","path":"/metadata/labels"}]`},
		{"PATCH", deploys + "/d", "", "application/strategic-merge-patch+json", js, `{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"c"}]}}}}`},
		{"PATCH", deploys + "/d", "fieldManager=m&force=true", "application/apply-patch+yaml", js, deploy},
		{"PATCH", deploys + "/d/scale", "", "application/merge-patch+json", js, `{"spec":{"replicas":3}}`},
		{"PATCH", pods + "/p/status", "", "application/strategic-merge-patch+json", js, `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`},
		{"POST", pods + "/p/binding", "", js, js, `{"target":{"name":"n"}}`},
		{"POST", pods + "/p/eviction", "", js, js, `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}`},
		{"DELETE", maps + "/c", "gracePeriodSeconds=0&propagationPolicy=Orphan", js, js, `{"preconditions":{"uid":"x"}}`},
		{"DELETE", maps, "labelSelector=a", js, js, ""},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", js, js, `{"spec":{"resourceAttributes":{"verb":"get"}}}`},
		{"POST", "/apis/extensions/v1beta1/namespaces/default/deployments", "", js, js, `{"metadata":{"name":"o"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}`},
		{"GET", "/readyz", "verbose&exclude=ping", "", "", ""},
		{"HEAD", "/api/v1/namespaces//pods/..", "pretty=1", "", "*/*;q=x", ""},
	} {
		f.Add(x.method, x.path, x.query, x.media, x.accept, []byte(x.body))
	}
	f.Fuzz(func(t *testing.T, method, path, query, media, accept string, body []byte) {
		r, err := http.NewRequest(method, "https://x/", bytes.NewReader(body))
		if err != nil || path == "" || path[0] != '/' {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r = r.WithContext(ctx)
		r.URL.Path, r.URL.RawQuery = path, query
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", media)
		r.Header.Set("Accept", accept)
		w := leaver{httptest.NewRecorder(), cancel}
		h.ServeHTTP(w, r)
		out, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code < 200 || w.Code > 599 || strings.Contains(string(out), "caused apiserver to panic") {
			t.Fatalf("%s %q?%q %q: %d %s", method, path, query, body, w.Code, out)
		}
		if ct := w.Header().Get("Content-Type"); ct == "application/json" && !w.Flushed && method != "HEAD" && !json.Valid(out) && ctx.Err() == nil {
			t.Fatalf("%s %q?%q %q: %d with a body that is no JSON: %s", method, path, query, body, w.Code, out)
		}
	})
}
