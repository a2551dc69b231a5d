package custom

import (
	"encoding/json"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"skiff.dev/skiff/kinds"
)

// openAPI is the schema of one version in an OpenAPI document (controller/openapi/
// builder, buildKubeNative).
func (d *Definition) openAPI(k *kinds.Kind, three bool) (json.RawMessage, error) {
	c, err := d.source()
	if err != nil {
		return nil, err
	}
	v := versionOf(c, k.Version)
	if v == nil {
		return nil, fmt.Errorf("custom: %s has no version %s", d.name, k.Version)
	}
	props, err := internalSchema(v)
	if err != nil {
		return nil, err
	}
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	if props != nil {
		if st, err := structuralschema.NewStructural(props); err == nil && len(structuralschema.ValidateStructural(nil, st)) == 0 {
			out = describe(st.Unfold(), three, c.Spec.PreserveUnknownFields)
		}
	}
	out.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind}})
	if fields := selectableNames(v); len(fields) > 0 {
		out.AddExtension("x-kubernetes-selectable-fields", fields)
	}
	return json.Marshal(out)
}

func selectableNames(v *apiextensionsv1.CustomResourceDefinitionVersion) []any {
	var out []any
	for _, f := range v.SelectableFields {
		out = append(out, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
	}
	return out
}

var (
	apiVersionText = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	kindText       = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
	metadataText   = metav1.PartialObjectMetadata{}.SwaggerDoc()["metadata"]
)

func describe(st *structuralschema.Structural, three, preserve bool) *spec.Schema {
	if !three && (st.XPreserveUnknownFields || preserve) {
		// Properties would make kubectl refuse every other field.
		return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	}
	prefix := refV3
	if !three {
		st, prefix = versionTwo(st), "#/definitions/"
	}
	meta := func() spec.Schema {
		s := spec.RefSchema(prefix + objectMeta)
		if three {
			// A reference has no siblings in version 3 of OpenAPI.
			s = &spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{*s}}}
		}
		return *s.WithDescription(metadataText)
	}
	out := st.ToKubeOpenAPI()
	out.SetProperty("metadata", meta())
	out.SetProperty("apiVersion", *spec.StringProperty().WithDescription(apiVersionText))
	out.SetProperty("kind", *spec.StringProperty().WithDescription(kindText))
	addEmbedded(out, meta, !three)
	return out
}

// versionTwo takes away what version 2 of OpenAPI and kubectl do not understand
// (controller/openapi/v2, ToStructuralOpenAPIV2).
func versionTwo(in *structuralschema.Structural) *structuralschema.Structural {
	out := in.DeepCopy()
	m := structuralschema.Visitor{Structural: func(s *structuralschema.Structural) bool {
		if v := s.ValueValidation; v != nil {
			v.AllOf, v.OneOf, v.AnyOf, v.Not = nil, nil, nil, nil
		}
		if s.Nullable {
			s.Type, s.Nullable, s.Items, s.Properties = "", false, nil, nil
		}
		if s.XPreserveUnknownFields {
			s.Items, s.Properties = nil, nil
			if s.Type == "object" {
				s.Type = ""
			}
		}
		if s.Items == nil && s.Type == "array" {
			s.Type = ""
		}
		if s.ValueValidation != nil {
			for name, p := range s.Properties {
				if p.Nullable {
					s.ValueValidation.Required = without(s.ValueValidation.Required, name)
				}
			}
			if a := s.AdditionalProperties; a != nil && a.Structural != nil && a.Structural.Nullable {
				s.ValueValidation.Required = nil
			}
		}
		return true
	}}
	m.Visit(out)
	return out
}

func without(in []string, name string) []string {
	var out []string
	for _, s := range in {
		if s != name {
			out = append(out, s)
		}
	}
	return out
}
