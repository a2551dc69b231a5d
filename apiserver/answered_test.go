package apiserver_test

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/codec"
)

// TestAnswersOfWritesAreTheObject: what a write answers as protobuf, which is made of
// the stored form, is what a reader gets as JSON.
func TestAnswersOfWritesAreTheObject(t *testing.T) {
	h := benchServer(t).Handler()
	const pods = "/api/v1/namespaces/default/pods"
	ask := func(method, path, contentType, accept, body string) *corev1.Pod {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		media := codec.JSON
		if accept == codec.TypeProtobuf {
			media = codec.Protobuf
		}
		pod := &corev1.Pod{}
		if _, _, err := codec.DecodeInto(media, w.Body.Bytes(), pod, codec.Ignore); err != nil {
			t.Fatal(err)
		}
		pod.TypeMeta.Kind, pod.TypeMeta.APIVersion = "", ""
		return pod
	}
	for _, write := range []struct{ method, path, contentType, body string }{
		{"POST", pods, "application/json", string(mustJSON(t, benchPod("a")))},
		{"PATCH", pods + "/a", "application/merge-patch+json", `{"metadata":{"labels":{"x":"y"}}}`},
		{"PATCH", pods + "/a/status", "application/merge-patch+json", `{"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}`},
	} {
		got := ask(write.method, write.path, write.contentType, codec.TypeProtobuf, write.body)
		want := ask("GET", pods+"/a", "", "application/json", "")
		if got.ResourceVersion == "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s %s: %v, not %v", write.method, write.path, got, want)
		}
	}
}
