package custom

import (
	"fmt"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	builtin "skiff.dev/skiff/apiserver/openapi/typed"
)

// typeConverter makes typed values of a definition's objects, which are
// Unstructured here, by version: a managedfields.TypeConverter.
type typeConverter struct {
	parser typed.Parser
	names  map[string]string // apiVersion to type
}

var deduced = managedfields.NewDeducedTypeConverter()

// ObjectToTyped implements managedfields.TypeConverter.
func (c *typeConverter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return deduced.ObjectToTyped(obj, opts...)
	}
	name, ok := c.names[u.GetAPIVersion()]
	if !ok {
		return nil, fmt.Errorf("no corresponding type for %v", u.GroupVersionKind())
	}
	return c.parser.Type(name).FromUnstructured(u.UnstructuredContent(), opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (c *typeConverter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	return deduced.TypedToObject(v)
}

const (
	objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	refV3      = "#/components/schemas/"
)

// typeConverter compiles the schemas of all versions for server-side apply
// (customresource_handler.go, buildOpenAPIModelsForApply).
func (d *Definition) typeConverter() (*typeConverter, error) {
	return d.types.get(d.shelf, func() (*typeConverter, error) {
		models := map[string]*spec.Schema{}
		out := &typeConverter{names: map[string]string{}}
		keep := false
		for name, s := range d.versions {
			props, preserve, err := s.internal()
			if err != nil {
				return nil, err
			}
			keep = preserve
			var st *structuralschema.Structural
			if props != nil {
				if made, err := structuralschema.NewStructural(props); err == nil && len(structuralschema.ValidateStructural(nil, made)) == 0 {
					st = made.Unfold()
				}
			}
			m := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
			if st != nil {
				m = st.ToKubeOpenAPI()
				m.SetProperty("metadata", *spec.RefSchema(refV3 + objectMeta))
				m.SetProperty("apiVersion", *spec.StringProperty())
				m.SetProperty("kind", *spec.StringProperty())
				addEmbedded(m, func() spec.Schema { return *spec.RefSchema(refV3 + objectMeta) }, false)
			}
			key := d.group + "." + name
			models[key] = m
			out.names[d.group+"/"+name] = key
		}
		made, err := schemaconv.ToSchemaFromOpenAPI(models, keep)
		if err != nil {
			return nil, fmt.Errorf("custom: %s: %w", d.name, err)
		}
		meta, err := builtin.Closure(objectMeta)
		if err != nil {
			return nil, err
		}
		have := map[string]bool{}
		for _, t := range made.Types {
			have[t.Name] = true
		}
		for _, t := range meta {
			if !have[t.Name] {
				made.Types = append(made.Types, t)
			}
		}
		out.parser = typed.Parser{Schema: schema.Schema{Types: made.Types}}
		return out, nil
	})
}

// addEmbedded gives embedded resources the properties that every object has
// (controller/openapi/builder).
func addEmbedded(s *spec.Schema, meta func() spec.Schema, two bool) {
	if s == nil {
		return
	}
	for k := range s.Properties {
		v := s.Properties[k]
		addEmbedded(&v, meta, two)
		s.Properties[k] = v
	}
	if s.Items != nil {
		addEmbedded(s.Items.Schema, meta, two)
	}
	if s.AdditionalProperties != nil {
		addEmbedded(s.AdditionalProperties.Schema, meta, two)
	}
	if is, ok := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); ok && is && two {
		return // kubectl would refuse unknown fields
	}
	if is, ok := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !ok || !is {
		return
	}
	text := spec.StringProperty
	s.SetProperty("apiVersion", *text().WithDescription("apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"))
	s.SetProperty("kind", *text().WithDescription("kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"))
	s.SetProperty("metadata", meta())
	need := map[string]bool{}
	for _, r := range s.Required {
		need[r] = true
	}
	for _, r := range []string{"kind", "apiVersion"} {
		if !need[r] {
			s.Required = append(s.Required, r)
		}
	}
}
