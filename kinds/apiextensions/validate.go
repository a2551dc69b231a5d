package apiextensions

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of apiextensions-apiserver's
// pkg/apis/apiextensions/validation, but for what is inside of a schema: that it is
// structural, its defaults and its CEL rules are judged by the API server, which
// compiles it. Kubernetes judges an internal type; where it names a field that v1 has
// elsewhere, so do the messages here.

func validateDefinition(d *definition) field.ErrorList {
	var l rules.List
	if d.Name != d.Spec.Names.Plural+"."+d.Spec.Group {
		l.Invalid(field.NewPath("metadata", "name"), d.Name, `must be spec.names.plural+"."+spec.group`)
	}
	l.Add(validateSpec(&d.Spec)...)
	judgeStatus(&l, d)
	if d.Spec.PreserveUnknownFields {
		l.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")
	}
	return l.Errors()
}

func validateDefinitionUpdate(d, old *definition) field.ErrorList {
	l := rules.List(validateSpec(&d.Spec))
	path := field.NewPath("spec")
	if established(old) {
		l.Add(rules.Immutable(d.Spec.Scope, old.Spec.Scope, path.Child("scope"))...)
		l.Add(rules.Immutable(d.Spec.Names.Kind, old.Spec.Names.Kind, path.Child("names", "kind"))...)
	}
	l.Add(rules.Immutable(d.Spec.Group, old.Spec.Group, path.Child("group"))...)
	l.Add(rules.Immutable(d.Spec.Names.Plural, old.Spec.Names.Plural, path.Child("names", "plural"))...)
	judgeStatus(&l, d)
	if d.Spec.PreserveUnknownFields && !old.Spec.PreserveUnknownFields {
		l.Invalid(path.Child("preserveUnknownFields"), true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")
	}
	return l.Errors()
}

func validateDefinitionStatus(d, _ *definition) field.ErrorList {
	var l rules.List
	judgeNames(&l, &d.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))
	return l.Errors()
}

func established(d *definition) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// judgeStatus wants every version that objects may be stored in to be there.
func judgeStatus(l *rules.List, d *definition) {
	judgeNames(l, &d.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))
	path, stored := field.NewPath("status", "storedVersions"), d.Status.StoredVersions
	if len(stored) == 0 {
		l.Invalid(path, stored, "must have at least one stored version")
		return
	}
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(stored, v.Name) {
			l.Invalid(path, stored, "must have the storage version "+v.Name)
		}
	}
	for i, name := range stored {
		if !slices.ContainsFunc(d.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == name }) {
			l.Invalid(path.Index(i), name, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name))
		}
	}
}

func validateSpec(s *spec) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if s.Group == "" {
		l.Required(path.Child("group"), "")
	} else if msgs := utilvalidation.IsDNS1123Subdomain(s.Group); len(msgs) > 0 {
		l.Invalid(path.Child("group"), s.Group, strings.Join(msgs, ","))
	} else if !strings.Contains(s.Group, ".") {
		l.Invalid(path.Child("group"), s.Group, "should be a domain with at least one dot")
	}
	rules.SupportedOrRequired(&l, path.Child("scope"), s.Scope, apiextensionsv1.ClusterScoped, apiextensionsv1.NamespaceScoped)
	judgeVersions(&l, s, path)
	for _, n := range []struct{ name, value string }{
		{"plural", s.Names.Plural}, {"singular", s.Names.Singular}, {"kind", s.Names.Kind}, {"listKind", s.Names.ListKind},
	} {
		l.Need(path.Child("names"), n.name, n.value)
	}
	judgeNames(&l, &s.Names, path.Child("names"))
	if s.Conversion != nil {
		judgeConversion(&l, s.Conversion, path.Child("conversion"))
	}
	return l.Errors()
}

func judgeVersions(l *rules.List, s *spec, path *field.Path) {
	storage, unique, seen := 0, true, map[string]bool{}
	for i := range s.Versions {
		v, at := &s.Versions[i], path.Child("versions").Index(i)
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			if !s.PreserveUnknownFields {
				l.Required(at.Child("schema", "openAPIV3Schema"), "")
			}
		}
		if v.Storage {
			storage++
		}
		unique = unique && !seen[v.Name]
		seen[v.Name] = true
		if msgs := utilvalidation.IsDNS1035Label(v.Name); len(msgs) > 0 {
			l.Invalid(at.Child("name"), v.Name, strings.Join(msgs, ","))
		}
		judgeDeprecation(l, v, at.Child("deprecationWarning"))
		for k := range v.AdditionalPrinterColumns {
			judgeColumn(l, &v.AdditionalPrinterColumns[k], at.Child("additionalPrinterColumns").Index(k))
		}
	}
	if !unique {
		l.Invalid(path.Child("versions"), rules.Internal(s.Versions), "must contain unique version names")
	}
	if storage != 1 {
		l.Invalid(path.Child("versions"), rules.Internal(s.Versions), "must have exactly one version marked as storage version")
	}
}

func judgeDeprecation(l *rules.List, v *apiextensionsv1.CustomResourceDefinitionVersion, path *field.Path) {
	text := v.DeprecationWarning
	switch {
	case text == nil:
		return
	case !v.Deprecated:
		l.Invalid(path, text, "can only be set for deprecated versions")
		return
	case *text == "":
		l.Invalid(path, text, "must not be an empty string")
	case len(*text) > 256:
		l.Invalid(path, text, "must be <= 256 characters long")
	}
	for i, r := range *text {
		if !unicode.IsPrint(r) {
			l.Invalid(path, text, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", i))
			break
		}
	}
	if !utf8.ValidString(*text) {
		l.Invalid(path, text, "must only contain printable UTF-8 characters")
	}
}

var (
	columnTypes   = []string{"boolean", "date", "integer", "number", "string"}
	columnFormats = []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
)

func judgeColumn(l *rules.List, c *apiextensionsv1.CustomResourceColumnDefinition, path *field.Path) {
	l.Need(path, "name", c.Name)
	types := "must be one of " + strings.Join(columnTypes, ",")
	if c.Type == "" {
		l.Required(path.Child("type"), types)
	} else if !slices.Contains(columnTypes, c.Type) {
		l.Invalid(path.Child("type"), c.Type, types)
	}
	if c.Format != "" && !slices.Contains(columnFormats, c.Format) {
		l.Invalid(path.Child("format"), c.Format, "must be one of "+strings.Join(columnFormats, ","))
	}
	l.Need(path, "JSONPath", c.JSONPath)
}

func judgeNames(l *rules.List, n *apiextensionsv1.CustomResourceDefinitionNames, path *field.Path) {
	label := func(at *field.Path, value string) {
		if msgs := utilvalidation.IsDNS1035Label(value); len(msgs) > 0 {
			l.Invalid(at, value, strings.Join(msgs, ","))
		}
	}
	mixed := func(at *field.Path, value string) {
		if msgs := utilvalidation.IsDNS1035Label(strings.ToLower(value)); value != "" && len(msgs) > 0 {
			l.Invalid(at, value, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ","))
		}
	}
	if n.Plural != "" {
		label(path.Child("plural"), n.Plural)
	}
	if n.Singular != "" {
		label(path.Child("singular"), n.Singular)
	}
	mixed(path.Child("kind"), n.Kind)
	mixed(path.Child("listKind"), n.ListKind)
	for i, s := range n.ShortNames {
		label(path.Child("shortNames").Index(i), s)
	}
	if n.Kind != "" && n.Kind == n.ListKind {
		l.Invalid(path.Child("listKind"), n.ListKind, "kind and listKind may not be the same")
	}
	for i, c := range n.Categories {
		label(path.Child("categories").Index(i), c)
	}
}

func judgeConversion(l *rules.List, c *apiextensionsv1.CustomResourceConversion, path *field.Path) {
	rules.SupportedOrRequired(l, path.Child("strategy"), c.Strategy, apiextensionsv1.NoneConverter, apiextensionsv1.WebhookConverter)
	client, versions := path.Child("webhookClientConfig"), path.Child("conversionReviewVersions")
	if c.Strategy != apiextensionsv1.WebhookConverter {
		if c.Webhook != nil && c.Webhook.ClientConfig != nil {
			l.Forbidden(client, "should not be set when strategy is not set to Webhook")
		}
		if c.Webhook != nil && len(c.Webhook.ConversionReviewVersions) > 0 {
			l.Forbidden(versions, "should not be set when strategy is not set to Webhook")
		}
		return
	}
	if c.Webhook == nil || c.Webhook.ClientConfig == nil {
		l.Required(client, "required when strategy is set to Webhook")
	} else if cc := c.Webhook.ClientConfig; (cc.URL == nil) == (cc.Service == nil) {
		l.Required(client, "exactly one of url or service is required")
	} else if cc.URL != nil {
		if u, err := url.Parse(*cc.URL); err != nil {
			l.Required(client.Child("url"), "url must be a valid URL: "+err.Error()+"; desired format: https://host[/path]")
		} else if u.Scheme != "https" {
			l.Invalid(client.Child("url"), u.Scheme, "'https' is the only allowed URL scheme; desired format: https://host[/path]")
		}
	}
	var list []string
	if c.Webhook != nil {
		list = c.Webhook.ConversionReviewVersions
	}
	if len(list) == 0 {
		l.Required(versions, "")
		return
	}
	known, seen := false, map[string]bool{}
	for i, v := range list {
		if seen[v] {
			l.Invalid(versions.Index(i), v, "duplicate version")
			continue
		}
		seen[v] = true
		l.Messages(versions.Index(i), v, utilvalidation.IsDNS1035Label(v))
		known = known || v == "v1" || v == "v1beta1"
	}
	if !known {
		l.Invalid(versions, list, "must include at least one of v1, v1beta1")
	}
}
