package objects

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"skiff.dev/skiff/codec"
)

// legacyScheme is what errors of Kubernetes' API server call the list of built-in kinds.
const legacyScheme = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"

// retyped says what is wrong with a document that a patch gave another kind; nil if it
// did not. Kubernetes reads it as what it says it is, and then finds no way from there
// to the kind of the path.
func retyped(r *Request, patched []byte) error {
	want := codec.GVK(r.Kind, r.Version)
	have, err := json.DefaultMetaFactory.Interpret(patched)
	if err != nil || have.Kind == "" || have.Kind == want.Kind || r.Kind.Custom != nil {
		return nil
	}
	if have.Version == "" {
		have.Group, have.Version = want.Group, want.Version
	}
	other, err := clientgoscheme.Scheme.New(*have)
	if err != nil {
		return codec.InvalidPatch(string(patched), runtime.NewNotRegisteredErrForKind(legacyScheme, *have))
	}
	if _, err := codec.DecodePatched(patched, other, codec.Ignore); err != nil {
		return err
	}
	return codec.InvalidPatch(string(patched), fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion", have.Version, have.Kind, packageOf(want.Group), want.Kind))
}

// packageOf names the Go package of a group's types without a version.
func packageOf(group string) string {
	if group == "" {
		return "core"
	}
	for i, c := range group {
		if c == '.' {
			return group[:i]
		}
	}
	return group
}
