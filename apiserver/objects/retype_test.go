package objects

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds/all"
)

// TestRetyped: wordings are those of Kubernetes' decoder (recorded answers, b-jsonpatch).
func TestRetyped(t *testing.T) {
	kind, _ := all.Table().ByGVK(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
	r := &Request{Kind: kind}
	for doc, want := range map[string]string{
		`{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}`: "",
		`{"data":{"a":"b"}}`: "",
		`{"apiVersion":"v1","kind":"Secret","data":{"a":"b"}}`:    "illegal base64 data at input byte 0",
		`{"apiVersion":"v1","kind":"Secret","data":{"a":"YQ=="}}`: "converting (v1.Secret) to (core.ConfigMap): unknown conversion",
		`{"apiVersion":"v1","kind":"Thing"}`:                      `no kind "Thing" is registered for version "v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`,
	} {
		err := retyped(r, []byte(doc))
		if got := ""; err != nil {
			got = err.Error()
			if want == "" || !strings.HasSuffix(got, want) {
				t.Errorf("%s: %s", doc, got)
			}
		} else if want != "" {
			t.Errorf("%s: taken", doc)
		}
	}
}
