package apiserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// TestOldReviews: the reviews that were once beta are answered as they were asked, with
// a warning, unless old versions are hidden.
func TestOldReviews(t *testing.T) {
	h := benchServer(t).Handler()
	for _, c := range []struct{ path, body, want, warning string }{
		{"/apis/authorization.k8s.io/v1beta1/subjectaccessreviews",
			`{"apiVersion":"authorization.k8s.io/v1beta1","kind":"SubjectAccessReview","spec":{"user":"u","group":["g"],"resourceAttributes":{"verb":"get","resource":"pods"}}}`,
			`"group":["g"]`, "authorization.k8s.io/v1beta1 SubjectAccessReview is deprecated in v1.19+, unavailable in v1.22+; use authorization.k8s.io/v1 SubjectAccessReview"},
		{"/apis/authorization.k8s.io/v1beta1/selfsubjectaccessreviews",
			`{"apiVersion":"authorization.k8s.io/v1beta1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`,
			`"allowed":true`, "authorization.k8s.io/v1beta1 SelfSubjectAccessReview is deprecated"},
		{"/apis/authorization.k8s.io/v1beta1/namespaces/default/localsubjectaccessreviews",
			`{"apiVersion":"authorization.k8s.io/v1beta1","kind":"LocalSubjectAccessReview","metadata":{"namespace":"default"},"spec":{"user":"u","resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}}}`,
			`"allowed":true`, "authorization.k8s.io/v1beta1 LocalSubjectAccessReview is deprecated"},
		{"/apis/authorization.k8s.io/v1beta1/selfsubjectrulesreviews",
			`{"apiVersion":"authorization.k8s.io/v1beta1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}}`,
			`"apiVersion":"authorization.k8s.io/v1beta1"`, "authorization.k8s.io/v1beta1 SelfSubjectRulesReview is deprecated"},
		{"/apis/authentication.k8s.io/v1beta1/tokenreviews",
			`{"apiVersion":"authentication.k8s.io/v1beta1","kind":"TokenReview","spec":{"token":"x"}}`,
			`"apiVersion":"authentication.k8s.io/v1beta1"`, "authentication.k8s.io/v1beta1 TokenReview is deprecated in v1.19+, unavailable in v1.22+; use authentication.k8s.io/v1 TokenReview"},
	} {
		w := post(h, c.path, c.body)
		if w.Code != 201 || !strings.Contains(w.Body.String(), c.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		if got := w.Header().Get("Warning"); !strings.Contains(got, c.warning) {
			t.Errorf("%s: warning %q", c.path, got)
		}
	}
	// An eviction of the old version is one of today's; 404 means that it was understood.
	if w := post(h, "/api/v1/namespaces/default/pods/p/eviction", `{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"p"}}`); w.Code != 404 {
		t.Errorf("eviction: %d %s", w.Code, w.Body)
	}

	s := mem.New()
	defer s.Close()
	today, err := apiserver.New(context.Background(), apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer today.Close()
	if w := post(today.Handler(), "/apis/authorization.k8s.io/v1beta1/selfsubjectaccessreviews", `{}`); w.Code != 404 {
		t.Errorf("hidden: %d %s", w.Code, w.Body)
	}
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
