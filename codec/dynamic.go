package codec

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	kjson "sigs.k8s.io/json"

	"skiff.dev/skiff/kinds/dynamic"
)

// decodeDynamic reads an object without a Go type of its own. Metadata of the wrong
// type is an error, unknown fields of metadata are told; what else is unknown, only
// the kind's schema knows (apiextensions-apiserver, schemaCoercingDecoder).
func decodeDynamic(data []byte, into *dynamic.Object, s Strict) (strictErrs []error, err error) {
	m := map[string]any{}
	if s == Report {
		if strictErrs, err = kjson.UnmarshalStrict(data, &m); err != nil {
			return nil, err
		}
	} else if err = kjson.UnmarshalCaseSensitivePreserveInts(data, &m); err != nil {
		return nil, err
	}
	for _, name := range []string{"kind", "apiVersion"} {
		if v, ok := m[name]; ok {
			if _, ok := v.(string); !ok {
				return nil, fmt.Errorf(".%s accessor error: %v is of the type %T, expected string", name, v, v)
			}
		}
	}
	if kind, _ := m["kind"].(string); kind == "" {
		return nil, fmt.Errorf("Object 'Kind' is missing in '%s'", data)
	}
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(m, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: s == Report})
	if err != nil {
		return nil, err
	}
	if found {
		into.ObjectMeta = *meta
	}
	for _, path := range unknown {
		strictErrs = append(strictErrs, UnknownField(path))
	}
	into.SetContent(m)
	return strictErrs, nil
}

// UnknownField is the strict error of a field that no schema names.
func UnknownField(path string) error { return fmt.Errorf(`unknown field "%s"`, path) }
