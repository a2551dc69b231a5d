package policystatus

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// schemas are those of one OpenAPI document, by name.
type schemas map[string]*spec.Schema

const refPrefix = "#/components/schemas/"

func readSchemas(doc []byte) (schemas, error) {
	var d struct {
		Components struct {
			Schemas schemas `json:"schemas"`
		} `json:"components"`
	}
	if len(doc) == 0 {
		return nil, nil
	}
	err := json.Unmarshal(doc, &d)
	return d.Components.Schemas, err
}

// of finds the schema of a kind, with what it refers to in the places of references;
// nil if there is none.
func (s schemas) of(gvk schema.GroupVersionKind) *spec.Schema {
	for name, one := range s {
		if one == nil {
			continue
		}
		var kinds []struct{ Group, Version, Kind string }
		if err := one.Extensions.GetObject("x-kubernetes-group-version-kind", &kinds); err != nil {
			continue
		}
		for _, k := range kinds {
			if k.Group == gvk.Group && k.Version == gvk.Version && k.Kind == gvk.Kind {
				out := s.whole(*one, map[string]bool{name: true})
				return &out
			}
		}
	}
	return nil
}

// whole replaces references in a schema; within are the names that it is part of. What
// is part of itself is any object.
func (s schemas) whole(one spec.Schema, within map[string]bool) spec.Schema {
	if name := refOf(&one); name != "" {
		to := s[name]
		if to == nil || within[name] {
			return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
		}
		within[name] = true
		defer delete(within, name)
		one = *to
	}
	if len(one.Properties) > 0 {
		props := make(map[string]spec.Schema, len(one.Properties))
		for name, p := range one.Properties {
			props[name] = s.whole(p, within)
		}
		one.Properties = props
	}
	if a := one.AdditionalProperties; a != nil && a.Schema != nil {
		all := s.whole(*a.Schema, within)
		one.AdditionalProperties = &spec.SchemaOrBool{Allows: a.Allows, Schema: &all}
	}
	if i := one.Items; i != nil && i.Schema != nil {
		each := s.whole(*i.Schema, within)
		one.Items = &spec.SchemaOrArray{Schema: &each}
	}
	return one
}

// refOf names what a schema refers to, by itself or wrapped to keep a description.
func refOf(one *spec.Schema) string {
	if one.Ref.GetURL() != nil {
		return strings.TrimPrefix(one.Ref.String(), refPrefix)
	}
	for i := range one.AllOf {
		if name := refOf(&one.AllOf[i]); name != "" {
			return name
		}
	}
	return ""
}
