package apiserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff.dev/skiff/apiserver"
)

func TestRequestLimits(t *testing.T) {
	h := flowServer(t, func(o *apiserver.Options) {
		o.Flags = func() map[string]string { return map[string]string{"listen": "x"} }
	})
	cm := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"` + strings.Repeat("x", 3<<20) + `"}}`
	for _, chunked := range []bool{false, true} {
		r := as("admin", "POST", "/api/v1/namespaces/default/configmaps", cm)
		if chunked {
			r.ContentLength = -1
		}
		if w := answer(h, r); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), `"message":"Request entity too large: limit is 3145728","reason":"RequestEntityTooLarge"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if w := answer(h, as("admin", "GET", "/api/v1/pods?timeout=soon", "")); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `invalid timeout specified in the request URL - time: invalid duration \"soon\"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	deep := `{"apiVersion":"v1","kind":"ConfigMap","metadata":` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000) + "}"
	if w := answer(h, as("admin", "POST", "/api/v1/namespaces/default/configmaps", deep)); w.Code != http.StatusBadRequest {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
	for path, want := range map[string]string{
		"/readyz?verbose": "[+]poststarthook/rbac/bootstrap-roles ok\n", "/livez/poststarthook/rbac/bootstrap-roles": "ok", "/readyz/etcd-readiness": "ok",
		"/statusz": "apiserver statusz\n", "/flagz": "listen=x\n", "/debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		if w := answer(h, as("admin", "GET", path, "")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	r := as("admin", "GET", "/statusz", "")
	r.Header.Set("Accept", "application/json;g=config.k8s.io;v=v1beta1;as=Statusz")
	if w := answer(h, r); !strings.Contains(w.Body.String(), `"binaryVersion":"1.36.3"`) || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// TestSlowBody: a client that sends its body slowly is answered when its time is
// over.
func TestSlowBody(t *testing.T) {
	srv := httptest.NewServer(flowServer(t, nil))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /api/v1/namespaces/default/configmaps?timeout=20ms HTTP/1.1\r\nHost: x\r\nTest-User: admin\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusGatewayTimeout || !bytes.Contains(body, []byte(`"message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout"`)) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestDeprecatedIsCounted: who asks for an old version leaves a trace of it.
func TestDeprecatedIsCounted(t *testing.T) {
	h := flowServer(t, func(o *apiserver.Options) { o.OldVersions = true })
	answer(h, as("admin", "GET", "/apis/policy/v1beta1/poddisruptionbudgets", ""))
	text := answer(h, as("admin", "GET", "/metrics", "")).Body.String()
	if want := `apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",subresource="",version="v1beta1"} 1`; !strings.Contains(text, want) {
		t.Errorf("missing %s", want)
	}
}

// TestParting: with HTTP/2, clients that are nobody and those by chance are asked to
// connect anew.
func TestParting(t *testing.T) {
	for name, c := range map[string]struct {
		user   string
		chance float64
		proto  int
		want   string
	}{
		"somebody": {"ann", 0, 2, ""}, "nobody": {"", 0, 2, "close"}, "nobody by HTTP/1.1": {"", 0, 1, ""}, "by chance": {"ann", 1, 2, "close"},
	} {
		h := flowServer(t, func(o *apiserver.Options) { o.GoawayChance = c.chance })
		r := as(c.user, "GET", "/healthz", "")
		r.ProtoMajor = c.proto
		if got := answer(h, r).Header().Get("Connection"); got != c.want {
			t.Errorf("%s: Connection: %q", name, got)
		}
	}
}
