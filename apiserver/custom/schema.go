package custom

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// schemas are the compiled forms of one version's schema.
type schemas struct {
	d       *Definition
	version string

	shape lazy[shape]
	rules lazy[ruleset]
}

// shape is what reading and writing need: which fields there are, and defaults.
type shape struct {
	structural *structuralschema.Structural // nil: no schema
	preserve   bool                         // spec.preserveUnknownFields
}

// ruleset is what only writes need.
type ruleset struct {
	structural     *structuralschema.Structural
	schema, status validation.SchemaValidator
	cel            *cel.Validator
}

// internal reads the version's schema from the definition, in the form that the
// rule libraries want; nil where there is none.
func (s *schemas) internal() (props *apiextensions.JSONSchemaProps, preserve bool, err error) {
	c, err := s.d.source()
	if err != nil {
		return nil, false, err
	}
	v := versionOf(c, s.version)
	if v == nil {
		return nil, false, fmt.Errorf("custom: %s has no version %s", c.Name, s.version)
	}
	props, err = internalSchema(v)
	return props, c.Spec.PreserveUnknownFields, err
}

func internalSchema(v *apiextensionsv1.CustomResourceDefinitionVersion) (*apiextensions.JSONSchemaProps, error) {
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return nil, nil
	}
	var out apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, &out, nil); err != nil {
		return nil, fmt.Errorf("custom: version %s: %w", v.Name, err)
	}
	return out.OpenAPIV3Schema, nil
}

func (s *schemas) getShape() (*shape, error) {
	return s.shape.get(s.d.shelf, func() (*shape, error) {
		props, preserve, err := s.internal()
		if err != nil {
			return nil, err
		}
		out := &shape{preserve: preserve}
		if props == nil {
			return out, nil
		}
		st, err := structuralschema.NewStructural(props)
		if err != nil {
			if preserve { // such a schema only validates
				return out, nil
			}
			return nil, fmt.Errorf("custom: %s: %w", s.d.name, err)
		}
		out.structural = st
		if !preserve {
			out.structural = st.DeepCopy() // what NewStructural made shares defaults
			if err := structuraldefaulting.PruneDefaults(out.structural); err != nil {
				return nil, fmt.Errorf("custom: %s: %w", s.d.name, err)
			}
		}
		return out, nil
	})
}

func (s *schemas) getRules() (*ruleset, error) {
	return s.rules.get(s.d.shelf, func() (*ruleset, error) {
		sh, err := s.getShape()
		if err != nil {
			return nil, err
		}
		props, _, err := s.internal()
		if err != nil {
			return nil, err
		}
		out := &ruleset{structural: sh.structural}
		if out.schema, _, err = validation.NewSchemaValidator(props); err != nil {
			return nil, fmt.Errorf("custom: %s: %w", s.d.name, err)
		}
		if props != nil {
			if status, ok := props.Properties["status"]; ok {
				if out.status, _, err = validation.NewSchemaValidator(&status); err != nil {
					return nil, fmt.Errorf("custom: %s: %w", s.d.name, err)
				}
			}
		}
		out.cel = cel.NewValidator(sh.structural, true, celconfig.PerCallLimit)
		return out, nil
	})
}

func (s *schemas) trim() {
	s.shape.trim()
	s.rules.trim()
}

// defaults fills in the schema's defaults. A schema that cannot be compiled, which
// validation does not let through, has none.
func (s *schemas) defaults(fields map[string]any) {
	if sh, err := s.getShape(); err == nil && fields != nil {
		structuraldefaulting.Default(fields, sh.structural)
	}
}

// coerce takes away what the schema does not know (customresource_handler.go,
// unstructuredSchemaCoercer).
func (s *schemas) coerce(o kinds.Object, report bool) (unknown []string, err error) {
	return s.coerceFields(fieldsOf(o), report, false)
}

func (s *schemas) coerceFields(fields map[string]any, report, drop bool) (unknown []string, err error) {
	sh, err := s.getShape()
	if err != nil {
		return nil, err
	}
	return sh.coerce(fields, report, drop)
}

func (sh *shape) coerce(fields map[string]any, report, drop bool) (unknown []string, err error) {
	if !sh.preserve {
		unknown = structuralpruning.PruneWithOptions(fields, sh.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: report})
		structuraldefaulting.PruneNonNullableNullsWithoutDefaults(fields, sh.structural)
	}
	fieldErr, more := schemaobjectmeta.CoerceWithOptions(nil, fields, sh.structural, false, schemaobjectmeta.CoerceOptions{
		DropInvalidFields: drop, ReturnUnknownFieldPaths: report})
	if fieldErr != nil {
		return nil, fieldErr
	}
	return append(unknown, more...), nil
}

// restored gives an object from the store the form that its schema has now.
func (d *Definition) restored(in kinds.Object) (kinds.Object, error) {
	o, ok := in.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("custom: the store has a %T", in)
	}
	s := d.versions[o.Version]
	if s == nil {
		return nil, fmt.Errorf("custom: %s %s is stored in version %s, which the definition no longer has", d.name, o.Name, o.Version)
	}
	fields := fieldsOf(o)
	if _, err := s.coerceFields(fields, false, true); err != nil {
		return nil, err
	}
	s.defaults(fields)
	if o.Generation == 0 {
		o.Generation = 1 // of the first releases
	}
	return o, nil
}
