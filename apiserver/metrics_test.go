package apiserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRequestMetrics holds that requests are counted under Kubernetes' labels, and
// that clients cannot make labels up.
func TestRequestMetrics(t *testing.T) {
	h := benchServer(t).Handler()
	do(t, h, "POST", "/api/v1/namespaces/default/configmaps?dryRun=All", "application/json", "application/json", []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`))
	do(t, h, "GET", "/api/v1/namespaces/default/configmaps", "", "application/json", nil)
	do(t, h, "GET", "/api/v1/pods", "", "application/json", nil)
	do(t, h, "PATCH", "/api/v1/namespaces/default/configmaps/b?fieldManager=m", "application/apply-patch+yaml", "application/json", []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}`))
	for _, path := range []string{"/api/v1/namespaces/default/pods/none", "/api/v1/madeup", "/madeup", "/healthz"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		`apiserver_request_total{code="201",component="apiserver",dry_run="All",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="APPLY",version="v1"} 1`,
		`apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/healthz",verb="GET",version=""} 1`,
		`apiserver_request_duration_seconds_count{component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 1`,
		`apiserver_current_inflight_requests{request_kind="mutating"} 0`,
		`apiserver_current_inflight_requests{request_kind="readOnly"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(text, "madeup") {
		t.Error("what a client made up has become a label")
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "apiserver_request_total") {
				t.Log(line)
			}
		}
	}
}
