package intercept_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// TestFaultyWebhooks has webhooks that hang, lie, die or send what cannot be read.
// With failurePolicy Fail each refuses the request with the words of Kubernetes; with
// Ignore the request goes on.
func TestFaultyWebhooks(t *testing.T) {
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	const internal = `Internal error occurred: failed calling webhook "a.example.com": `
	s := newServer(t)
	lie := func(f func(out *admissionreview.AdmissionResponse)) http.HandlerFunc {
		return s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) { f(out) })
	}
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		change  func(*admissionv1.ValidatingWebhook)
		want    string
	}{
		{name: "hangs", handler: func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-released:
			}
		}, change: func(w *admissionv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](1) },
			want: internal + `failed to call webhook: Post "https://HOOK/x?timeout=1s": context deadline exceeded`},
		{name: "another uid", handler: lie(func(out *admissionreview.AdmissionResponse) { out.UID = types.UID("other") }),
			want: internal + `received invalid webhook response: expected response.uid="UID", got "other"`},
		{name: "no response", handler: write(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`),
			want: internal + `received invalid webhook response: webhook response was absent`},
		{name: "patch of a validating webhook", handler: lie(func(out *admissionreview.AdmissionResponse) {
			out.Patch, out.PatchType = []byte(`[]`), ptr.To(admissionreview.PatchTypeJSONPatch)
		}), want: internal + `received invalid webhook response: validating webhook may not return response.patch`},
		{name: "patch type of a validating webhook", handler: lie(func(out *admissionreview.AdmissionResponse) {
			out.PatchType = ptr.To(admissionreview.PatchTypeJSONPatch)
		}), want: internal + `received invalid webhook response: validating webhook may not return response.patchType`},
		{name: "not JSON", handler: write(`nothing of the kind`),
			want: internal + `failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }`},
		{name: "another kind", handler: write(`{"apiVersion":"v1","kind":"Pod"}`),
			want: internal + `failed to call webhook: no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"`},
		{name: "nothing", handler: write(``),
			want: internal + `failed to call webhook: 0-length response with status code: 200 and content type: application/json`},
		{name: "too much", handler: func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 20 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, want: internal + `failed to call webhook: unexpected error when reading response body. Please retry. Original error: the answer has more than 16777216 bytes`},
		{name: "dies in the answer", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"apiVersion":"admission.k8s.io/v1"`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, want: internal + `failed to call webhook: unexpected error when reading response body. Please retry. Original error: unexpected EOF`},
		{name: "dies before the answer", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			want: internal + `failed to call webhook: Post "https://HOOK/x?timeout=10s": EOF`},
		{name: "fails", handler: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no database", http.StatusInternalServerError)
		},
			want: internal + `failed to call webhook: an error on the server ("no database") has prevented the request from succeeding`},
		{name: "not found", handler: http.NotFound,
			want: internal + `failed to call webhook: the server could not find the requested resource`},
		{name: "redirects", handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusTemporaryRedirect)
		}, want: internal + `failed to call webhook: the server responded with the status code 307 but did not return more information`},
		{name: "wrong certificate", handler: write(`{}`), change: func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.CABundle = otherAuthority(t) },
			want: internal + `failed to call webhook: Post "https://HOOK/x?timeout=10s": tls: failed to verify certificate: x509: certificate signed by unknown authority`},
		{name: "nobody there", handler: write(`{}`), change: func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.URL = ptr.To("https://127.0.0.1:1/x") },
			want: internal + `failed to call webhook: Post "https://127.0.0.1:1/x?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused`},
		{name: "no such service", handler: write(`{}`), change: func(w *admissionv1.ValidatingWebhook) {
			w.ClientConfig.URL, w.ClientConfig.Service = nil, &admissionv1.ServiceReference{Namespace: "default", Name: "hook", Path: ptr.To("/y")}
		}, want: internal + `failed to call webhook: Post "https://hook.default.svc:443/y?timeout=10s": service "hook" not found`},
	} {
		for _, policy := range []admissionv1.FailurePolicyType{admissionv1.Fail, admissionv1.Ignore} {
			t.Run(c.name+"/"+string(policy), func(t *testing.T) {
				k := newCluster(t)
				s.handle("/x", c.handler)
				w := s.validating("a.example.com", "/x", rule("", "v1", "configmaps"))
				w.FailurePolicy = &policy
				if c.change != nil {
					c.change(&w)
				}
				k.validate("c", w)
				_, err := k.create(configMap("m"))
				if policy == admissionv1.Ignore {
					if err != nil {
						t.Fatalf("the failure was not ignored: %v", err)
					}
					return
				}
				got := message(err, s)
				if seen := s.take(); len(seen) > 0 {
					got = strings.ReplaceAll(got, string(seen[0].UID), "UID")
				}
				if got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if code(err) != http.StatusInternalServerError {
					t.Errorf("code %d", code(err))
				}
			})
		}
	}
}

// otherAuthority is the certificate of an authority that signed nothing here.
func otherAuthority(t *testing.T) []byte {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	// httptest's servers share one certificate: change its last byte.
	raw := append([]byte(nil), srv.Certificate().Raw...)
	raw[len(raw)-1] ^= 1
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// TestFaultyPatches has mutating webhooks whose patches cannot be applied.
func TestFaultyPatches(t *testing.T) {
	const call = `Internal error occurred: failed calling webhook "a.example.com": `
	const internal = `Internal error occurred: `
	for _, c := range []struct {
		name    string
		respond func(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse)
		want    string
		ignored bool // by failurePolicy Ignore
	}{
		{"not a patch", patch(`{"a":1}`), call + `received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch`, true},
		{"no type", func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
			out.Patch = []byte(`[]`)
		},
			call + `received invalid webhook response: webhook returned response.patch but not response.patchType`, true},
		{"no patch", func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
			out.PatchType = ptr.To(admissionreview.PatchTypeJSONPatch)
		}, call + `received invalid webhook response: webhook returned response.patchType but not response.patch`, true},
		{"unknown type", func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
			out.Patch, out.PatchType = []byte(`[{"op":"add","path":"/data/a","value":"1"}]`), ptr.To(admissionreview.PatchType("Merge"))
		}, call + `unsupported patch type "Merge"`, true},
		{"path that is not there", patch(`[{"op":"remove","path":"/data/none"}]`), internal + `error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value`, false},
		{"failed test", patch(`[{"op":"test","path":"/metadata/name","value":"x"}]`), internal + `testing value /metadata/name failed: test failed`, false},
		{"object of another form", patch(`[{"op":"add","path":"/data","value":"text"}]`), internal + `json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string`, false},
		{"a bomb of copies", patch(bomb()), internal + `Unable to complete the copy, the accumulated size increase of copy is`, false},
		{"an invalid object", patch(`[{"op":"add","path":"/metadata/labels","value":{"not a label":"x"}}]`),
			`ConfigMap "m" is invalid: metadata.labels: Invalid value: "not a label"`, false},
		{"another namespace", patch(`[{"op":"replace","path":"/metadata/namespace","value":"other"}]`),
			`the namespace of the provided object does not match the namespace sent on the request`, false},
	} {
		for _, policy := range []admissionv1.FailurePolicyType{admissionv1.Fail, admissionv1.Ignore} {
			t.Run(c.name+"/"+string(policy), func(t *testing.T) {
				k, s := newCluster(t), newServer(t)
				s.handle("/x", s.review(c.respond))
				w := s.mutating("a.example.com", "/x", rule("", "v1", "configmaps"))
				w.FailurePolicy = &policy
				k.mutate("c", w)
				_, err := k.create(configMap("m", "k", strings.Repeat("v", 1000)))
				if policy == admissionv1.Ignore && c.ignored {
					if err != nil {
						t.Fatalf("the failure was not ignored: %v", err)
					}
					return
				}
				if got := message(err, s); !strings.HasPrefix(got, c.want) {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			})
		}
	}
}

// bomb is a patch that copies data into itself until it would fill gigabytes.
func bomb() string {
	ops := []string{}
	for i := range 40 {
		ops = append(ops, fmt.Sprintf(`{"op":"copy","from":"/data","path":"/data/c%d"}`, i))
	}
	return "[" + strings.Join(ops, ",") + "]"
}
