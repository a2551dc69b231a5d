// Package apiextensions holds the kinds of the group apiextensions.k8s.io: kinds
// that users define. Room apiserver serves what they define. See package kinds for
// the table that this is a part of.
package apiextensions

import (
	"fmt"
	"slices"
	"strings"

	inner "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/cel/environment"
	spec3 "k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

type definition = apiextensionsv1.CustomResourceDefinition

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{customResourceDefinition()} }

func customResourceDefinition() *kinds.Kind {
	k := row.Fill[apiextensionsv1.CustomResourceDefinition, apiextensionsv1.CustomResourceDefinitionList](apiextensionsv1.SchemeGroupVersion, &kinds.Kind{
		Resource:   "customresourcedefinitions",
		ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultDefinition),
		PrepareCreate: rules.Do(func(d *definition) {
			d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
			noteStorage(d)
		}),
		PrepareUpdate: rules.Do2(func(d, old *definition) {
			d.Status = *old.Status.DeepCopy()
			noteStorage(d)
		}),
		Generation:     rules.Differ(func(d, old *definition) bool { return !row.Same(d.Spec, old.Spec) }),
		Warnings:       formatWarnings,
		Validate:       rules.Check(validateDefinition),
		ValidateUpdate: rules.Check2(validateDefinitionUpdate),
		Subresources: row.WithStatus(func(d, old *definition) {
			d.Spec = old.Spec
		}, validateDefinitionStatus, "metadata", "spec"),
		FromCache: unpack, ToCache: pack, Restored: pack,
		EncodeStored: encodeStored, DecodeStored: decodeStored,
	}, oldDefinition()...)
	for i := range k.Served {
		if from := k.Served[i].FromHub; from != nil {
			k.Served[i].FromHub = func(in kinds.Object) (runtime.Object, error) {
				whole, err := unpack(in)
				if err != nil {
					return nil, err
				}
				return from(whole)
			}
		}
	}
	return k
}

func defaultDefinition(d *definition) {
	names := &d.Spec.Names
	if names.Singular == "" {
		names.Singular = strings.ToLower(names.Kind)
	}
	if names.ListKind == "" && names.Kind != "" {
		names.ListKind = names.Kind + "List"
	}
	if d.Spec.Conversion == nil {
		d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	}
	if w := d.Spec.Conversion.Webhook; w != nil && w.ClientConfig != nil && w.ClientConfig.Service != nil && w.ClientConfig.Service.Port == nil {
		w.ClientConfig.Service.Port = ptr.To[int32](443)
	}
	if len(d.Status.StoredVersions) == 0 {
		noteStorage(d)
	}
}

// formatWarnings tell of formats that nothing judges, but for those that the old
// definition had (registry/customresourcedefinition, strategy.go).
func formatWarnings(obj, old kinds.Object) []string {
	had := map[string]bool{}
	for _, f := range unknownFormats(old) {
		had[f] = true
	}
	var out []string
	for _, f := range unknownFormats(obj) {
		if !had[f] {
			out = append(out, fmt.Sprintf("unrecognized format %q", f))
		}
	}
	return out
}

func unknownFormats(obj kinds.Object) (out []string) {
	d, ok := obj.(*definition)
	if !ok || d == nil {
		return nil
	}
	in, errs := internal(d)
	if errs != nil {
		return nil
	}
	anySchema(&in.Spec, func(p *inner.JSONSchemaProps) bool {
		if p.Format != "" {
			s := &spec3.Schema{SchemaProps: spec3.SchemaProps{Format: p.Format, Type: []string{p.Type}}}
			out = append(out, validation.GetUnrecognizedFormats(s, environment.DefaultCompatibilityVersion())...)
		}
		return false
	})
	return out
}

// noteStorage remembers that objects may be stored in the storage version.
func noteStorage(d *definition) {
	for _, v := range d.Spec.Versions {
		if v.Storage {
			if !slices.Contains(d.Status.StoredVersions, v.Name) {
				d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
			}
			return
		}
	}
}
