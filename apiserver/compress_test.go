package apiserver_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestLargeAnswersAreCompressed: over 128 KiB, for who accepts gzip, and never watches
// (TestGzip in Kubernetes' writers_test.go).
func TestLargeAnswersAreCompressed(t *testing.T) {
	h := benchServer(t).Handler()
	fill(t, h, 300)
	ask := func(path, accept, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", accept)
		if encoding != "" {
			r.Header.Set("Accept-Encoding", encoding)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const (
		json  = "application/json"
		proto = "application/vnd.kubernetes.protobuf"
		table = "application/json;as=Table;v=v1;g=meta.k8s.io"
		parts = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
		pods  = "/api/v1/pods"
	)
	for _, c := range []struct {
		path, accept, encoding string
		want                   bool
	}{
		{pods, json, "gzip", true},
		{pods, proto, "deflate, gzip", true},
		{pods, table, "gzip", true},
		{pods, parts, "gzip", true},
		{pods + "?pretty=true", json, "gzip", true},
		{pods, "application/yaml", "gzip", true},
		{pods, json, "", false},
		{pods, json, "identity", false},
		{pods, json, "gzip;q=1", false},
		{pods, json, "x-gzip", false},
		{pods + "?limit=5", json, "gzip", false},
		{"/api/v1/namespaces/default/pods/pod-00000", json, "gzip", false},
	} {
		plain, got := ask(c.path, c.accept, ""), ask(c.path, c.accept, c.encoding)
		is := got.Header().Get("Content-Encoding") == "gzip"
		if got.Code != http.StatusOK || is != c.want {
			t.Errorf("%s as %s, accepting %q: %d, compressed %t", c.path, c.accept, c.encoding, got.Code, is)
			continue
		}
		if !is {
			if n := got.Header().Get("Content-Length"); n != fmt.Sprint(got.Body.Len()) || got.Header().Get("Vary") != "" {
				t.Errorf("%s: %v", c.path, got.Header())
			}
			continue
		}
		if got.Header().Get("Content-Length") != "" || got.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", c.path, got.Header())
		}
		size := got.Body.Len()
		z, err := gzip.NewReader(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		// A table tells ages, which may have grown before or after.
		same := bytes.Equal(body, plain.Body.Bytes()) || bytes.Equal(body, ask(c.path, c.accept, "").Body.Bytes())
		if err != nil || !same || size*2 > len(body) {
			t.Errorf("%s as %s: %d bytes of %d, %v", c.path, c.accept, size, len(body), err)
		}
	}
	// A watch goes out event by event.
	if w := ask(pods+"?watch=1&resourceVersion=0&timeoutSeconds=1", json, "gzip"); w.Header().Get("Content-Encoding") != "" || w.Body.Len() < 128<<10 {
		t.Errorf("a watch is compressed: %v, %d bytes", w.Header(), w.Body.Len())
	}
}

// TestJoinedListsFollowChanges: lists joined of kept pieces are those of the objects as
// they are now, page by page, in a namespace, and of custom versions.
func TestJoinedListsFollowChanges(t *testing.T) {
	h := benchServer(t).Handler()
	fill(t, h, 700)
	body := func(path, accept, encoding string) []byte {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || (w.Header().Get("Content-Encoding") == "gzip") != (encoding == "gzip") {
			t.Fatalf("%s: %d %v", path, w.Code, w.Header())
		}
		if encoding == "" {
			return w.Body.Bytes()
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := func() {
		t.Helper()
		for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/default/pods", "/api/v1/pods?limit=500", "/api/v1/pods?labelSelector=app%3Dbench"} {
			for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
				if plain, got := body(path, accept, ""), body(path, accept, "gzip"); !bytes.Equal(plain, got) {
					t.Errorf("%s as %s: %d bytes, not %d", path, accept, len(got), len(plain))
				}
			}
		}
	}
	same()
	const one = "/api/v1/namespaces/default/pods/pod-00%03d"
	for i := 0; i < 700; i += 97 {
		path := fmt.Sprintf(one, i)
		do(t, h, "PATCH", path, "application/merge-patch+json", "application/json", []byte(`{"metadata":{"labels":{"changed":"yes"}}}`))
		same()
		do(t, h, "DELETE", path+"?gracePeriodSeconds=0", "", "application/json", nil)
		same()
	}
	do(t, h, "POST", "/api/v1/namespaces/default/pods", "application/json", "application/json", mustJSON(t, benchPod("pod-00000-new")))
	same()
}

func BenchmarkListCompressed(b *testing.B) {
	h := benchServer(b).Handler()
	fill(b, h, 5000)
	list := func(b *testing.B, accept string) {
		r := httptest.NewRequest("GET", "/api/v1/pods", nil)
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Encoding", "gzip")
		w := &discard{h: http.Header{}, code: 200}
		h.ServeHTTP(w, r)
		b.ReportMetric(float64(w.n), "bytes")
	}
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(accept, func(b *testing.B) {
			defer cpu(b)()
			for b.Loop() {
				list(b, accept)
			}
		})
		b.Run(accept+"/changed", func(b *testing.B) {
			defer cpu(b)()
			i := 0
			for b.Loop() {
				i++
				do(b, h, "PATCH", fmt.Sprintf("/api/v1/namespaces/default/pods/pod-%05d", i%5000), "application/merge-patch+json", "application/json",
					fmt.Appendf(nil, `{"metadata":{"labels":{"changed":"%d"}}}`, i))
				list(b, accept)
			}
		})
	}
}
