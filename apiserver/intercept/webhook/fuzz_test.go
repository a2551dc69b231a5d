package webhook

import (
	"encoding/base64"
	"fmt"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds/all"
)

// FuzzAnswer reads whatever a webhook may send, and applies the patch in it: the
// outcome is an error or an object, and nothing of an answer to another question.
func FuzzAnswer(f *testing.F) {
	const uid = "c4e8d6c1"
	answer := func(version, more string) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/%s","kind":"AdmissionReview","response":{"uid":%q,"allowed":true%s}}`, version, uid, more)
	}
	ops := func(text string) string {
		return `,"patchType":"JSONPatch","patch":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"`
	}
	f.Add(answer("v1", ""), true)
	f.Add(answer("v1", ops(`[{"op":"add","path":"/data/a","value":"b"}]`)), true)
	f.Add(answer("v1beta1", ops(`[{"op":"copy","from":"/metadata","path":"/data"}]`)), true)
	f.Add(answer("v1", ops(`[{"op":"remove"},{"op":"move","path":""}]`)), false)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Status","status":"Failure"}`), true)
	f.Add([]byte(`{"response":`), false)
	kind, _ := all.Table().ByResource(schema.GroupResource{Resource: "configmaps"})
	decoder, err := content().Negotiator.Decoder(runtime.ContentTypeJSON, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, mutating bool) {
		for _, reply := range []runtime.Object{&admissionv1.AdmissionReview{}, &admissionv1beta1.AdmissionReview{}} {
			q := question{uid: uid, reply: reply}
			if _, _, err := decoder.Decode(body, nil, reply); err != nil {
				continue
			}
			out, err := q.read(mutating)
			if err != nil {
				continue
			}
			if v1, ok := reply.(*admissionv1.AdmissionReview); ok && v1.Response.UID != uid {
				t.Fatalf("an answer to %q was taken", v1.Response.UID)
			}
			if !out.allowed {
				if s := refusal("a.example.com", out.result).ErrStatus; s.Code < 400 || s.Status == metav1.StatusSuccess {
					t.Fatalf("a refusal of %d %s", s.Code, s.Status)
				}
			}
			if !mutating {
				if len(out.patch) > 0 {
					t.Fatal("a validating webhook has a patch")
				}
				continue
			}
			patch, err := jsonpatch.DecodePatch(out.patch)
			if err != nil {
				continue
			}
			r := &admission.Request{Operation: admission.Create, Kind: kind, Requested: kind.GVK(), Namespace: "n", Name: "m",
				Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "m"}, Data: map[string]string{"k": "v"}}}
			a := match.Of(r, false)
			doc, err := codec.Object(codec.JSON, kind.GVK(), r.Object)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := apply(a, kind.GVK(), doc, patch); err == nil {
				if _, err := codec.EncodeStored(kind, r.Object); err != nil {
					t.Fatalf("a patch made what cannot be stored: %v", err)
				}
			}
		}
	})
}
