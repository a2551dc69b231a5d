package apiextensions

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/row"
)

// In v1beta1 schema, subresources and columns could be said once for all versions,
// and fields that no schema names were kept unless one said otherwise. v1 says the
// latter in the schema; so does what is converted from v1beta1.
// (pkg/apis/apiextensions/v1*/{conversion,defaults}.go in Kubernetes.)

type (
	spec    = apiextensionsv1.CustomResourceDefinitionSpec
	oldSpec = apiextensionsv1beta1.CustomResourceDefinitionSpec
)

func oldDefinition() []kinds.Version {
	var c *convert.Converter
	c = convert.New(
		convert.After(func(in *oldSpec, out *spec) error { return spread(c, in, out) }),
		convert.After(func(in *spec, out *oldSpec) error { return gather(c, in, out) }),
		convert.After(func(in *apiextensionsv1beta1.CustomResourceConversion, out *apiextensionsv1.CustomResourceConversion) error {
			if in.WebhookClientConfig == nil && in.ConversionReviewVersions == nil {
				return nil
			}
			out.Webhook = &apiextensionsv1.WebhookConversion{ConversionReviewVersions: in.ConversionReviewVersions}
			if in.WebhookClientConfig == nil {
				return nil
			}
			out.Webhook.ClientConfig = &apiextensionsv1.WebhookClientConfig{}
			return c.Convert(in.WebhookClientConfig, out.Webhook.ClientConfig)
		}),
		convert.After(func(in *apiextensionsv1.CustomResourceConversion, out *apiextensionsv1beta1.CustomResourceConversion) error {
			if in.Webhook == nil {
				return nil
			}
			out.ConversionReviewVersions = in.Webhook.ConversionReviewVersions
			if in.Webhook.ClientConfig == nil {
				return nil
			}
			out.WebhookClientConfig = &apiextensionsv1beta1.WebhookClientConfig{}
			return c.Convert(in.Webhook.ClientConfig, out.WebhookClientConfig)
		}),
	)
	return []kinds.Version{convert.Old[apiextensionsv1.CustomResourceDefinition, apiextensionsv1beta1.CustomResourceDefinition, apiextensionsv1beta1.CustomResourceDefinitionList](
		c, apiextensionsv1beta1.SchemeGroupVersion, "CustomResourceDefinition", defaultOldDefinition)}
}

func defaultOldDefinition(d *apiextensionsv1beta1.CustomResourceDefinition) {
	s := &d.Spec
	if s.Scope == "" {
		s.Scope = apiextensionsv1beta1.NamespaceScoped
	}
	if len(s.Versions) == 0 && s.Version != "" {
		s.Versions = []apiextensionsv1beta1.CustomResourceDefinitionVersion{{Name: s.Version, Storage: true, Served: true}}
	}
	if s.Version == "" && len(s.Versions) != 0 {
		s.Version = s.Versions[0].Name
	}
	if s.Conversion != nil && s.Conversion.Strategy == apiextensionsv1beta1.WebhookConverter && len(s.Conversion.ConversionReviewVersions) == 0 {
		s.Conversion.ConversionReviewVersions = []string{"v1beta1"}
	}
	if s.PreserveUnknownFields == nil {
		s.PreserveUnknownFields = ptr.To(true)
	}
}

// spread gives each version what was said for all.
func spread(c *convert.Converter, in *oldSpec, out *spec) error {
	if len(out.Versions) == 0 && in.Version != "" {
		out.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: in.Version, Served: true, Storage: true}}
	}
	var all apiextensionsv1.CustomResourceDefinitionVersion
	once := apiextensionsv1beta1.CustomResourceDefinitionVersion{
		Schema: in.Validation, Subresources: in.Subresources,
		AdditionalPrinterColumns: in.AdditionalPrinterColumns, SelectableFields: in.SelectableFields,
	}
	if err := c.Convert(&once, &all); err != nil {
		return err
	}
	keep := out.PreserveUnknownFields
	out.PreserveUnknownFields = false
	for i := range out.Versions {
		v := &out.Versions[i]
		if all.Schema != nil {
			v.Schema = all.Schema.DeepCopy()
		}
		if all.Subresources != nil {
			v.Subresources = all.Subresources
		}
		if all.AdditionalPrinterColumns != nil {
			v.AdditionalPrinterColumns = all.AdditionalPrinterColumns
		}
		if all.SelectableFields != nil {
			v.SelectableFields = all.SelectableFields
		}
		if keep {
			keepUnknown(v)
		}
	}
	return nil
}

// keepUnknown says in the schema that unknown fields stay.
func keepUnknown(v *apiextensionsv1.CustomResourceDefinitionVersion) {
	if v.Schema == nil {
		v.Schema = &apiextensionsv1.CustomResourceValidation{}
	} else {
		v.Schema = v.Schema.DeepCopy()
	}
	if v.Schema.OpenAPIV3Schema == nil {
		v.Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{}
	}
	root := v.Schema.OpenAPIV3Schema
	if root.Type == "" {
		root.Type = "object"
	}
	root.XPreserveUnknownFields = ptr.To(true)
}

// gather says once what all versions say.
func gather(c *convert.Converter, in *spec, out *oldSpec) error {
	if len(in.Versions) == 0 {
		return nil
	}
	out.Version = in.Versions[0].Name
	first := in.Versions[0]
	schema, sub, columns, fields := true, true, true, true
	for _, v := range in.Versions[1:] {
		schema = schema && row.Same(v.Schema, first.Schema)
		sub = sub && row.Same(v.Subresources, first.Subresources)
		columns = columns && row.Same(v.AdditionalPrinterColumns, first.AdditionalPrinterColumns)
		fields = fields && row.Same(v.SelectableFields, first.SelectableFields)
	}
	var once apiextensionsv1beta1.CustomResourceDefinitionVersion
	if err := c.Convert(&first, &once); err != nil {
		return err
	}
	if schema {
		out.Validation = once.Schema
	}
	if sub {
		out.Subresources = once.Subresources
	}
	if columns {
		out.AdditionalPrinterColumns = once.AdditionalPrinterColumns
	}
	if fields {
		out.SelectableFields = once.SelectableFields
	}
	for i := range out.Versions {
		v := &out.Versions[i]
		if schema {
			v.Schema = nil
		}
		if sub {
			v.Subresources = nil
		}
		if columns {
			v.AdditionalPrinterColumns = nil
		}
		if fields {
			v.SelectableFields = nil
		}
	}
	return nil
}
