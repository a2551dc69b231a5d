package policystatus

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FuzzSchemas: documents of extension servers come from outside.
func FuzzSchemas(f *testing.F) {
	f.Add([]byte(`{"components":{"schemas":{"a":{"x-kubernetes-group-version-kind":[{"group":"g","version":"v","kind":"K"}],"properties":{"b":{"$ref":"#/components/schemas/a"},"c":{"items":{"allOf":[{"$ref":"#/components/schemas/d"}]}}}},"d":{"type":"string"}}}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := readSchemas(doc)
		if err != nil {
			return
		}
		s.of(schema.GroupVersionKind{Group: "g", Version: "v", Kind: "K"})
	})
}

func TestReferencesAreReplaced(t *testing.T) {
	s, err := readSchemas([]byte(`{"components":{"schemas":{"a":{"x-kubernetes-group-version-kind":[{"group":"g","version":"v","kind":"K"}],"type":"object","properties":{"b":{"$ref":"#/components/schemas/a"},"c":{"type":"array","items":{"allOf":[{"$ref":"#/components/schemas/d"}]}}}},"d":{"type":"string"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := s.of(schema.GroupVersionKind{Group: "g", Version: "v", Kind: "K"})
	if got == nil || !got.Properties["b"].Type.Contains("object") || !got.Properties["c"].Items.Schema.Type.Contains("string") {
		t.Errorf("%+v", got)
	}
	if s.of(schema.GroupVersionKind{Group: "g", Version: "v", Kind: "L"}) != nil {
		t.Error("found what is not there")
	}
}
