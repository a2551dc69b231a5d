package apiextensions

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	inner "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file, of schema.go and of cost.go are those of
// apiextensions-apiserver's pkg/apis/apiextensions/validation. They judge the
// internal type, in which what all versions have in common stands once, because the
// messages name its fields. Kubernetes' own package cannot be linked: it brings the
// server's machinery with it.

// internal is d as Kubernetes judges it.
func internal(d *definition) (*inner.CustomResourceDefinition, field.ErrorList) {
	var out inner.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d, &out, nil); err != nil {
		return nil, field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	return &out, nil
}

func validateDefinition(d *definition) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	var l rules.List
	for _, n := range []struct{ field, value string }{{"generateName", d.GenerateName}, {"name", d.Name}} {
		if n.value != "" && n.value != d.Spec.Names.Plural+"."+d.Spec.Group {
			l.Invalid(field.NewPath("metadata", n.field), n.value, `must be spec.names.plural+"."+spec.group`)
		}
	}
	j := newJudge(nil, in)
	l.Add(j.spec(&in.Spec)...)
	judgeStatus(&l, in)
	judgeApproval(&l, in, nil)
	judgePreserve(&l, in, nil)
	return l.Errors()
}

func validateDefinitionUpdate(d, old *definition) field.ErrorList {
	in, errs := internal(d)
	if errs != nil {
		return errs
	}
	was, errs := internal(old)
	if errs != nil {
		return errs
	}
	j := newJudge(was, in)
	l := rules.List(j.spec(&in.Spec))
	path := field.NewPath("spec")
	if inner.IsCRDConditionTrue(was, inner.Established) {
		l.Add(rules.Immutable(in.Spec.Scope, was.Spec.Scope, path.Child("scope"))...)
		l.Add(rules.Immutable(in.Spec.Names.Kind, was.Spec.Names.Kind, path.Child("names", "kind"))...)
	}
	l.Add(rules.Immutable(in.Spec.Group, was.Spec.Group, path.Child("group"))...)
	l.Add(rules.Immutable(in.Spec.Names.Plural, was.Spec.Names.Plural, path.Child("names", "plural"))...)
	judgeStatus(&l, in)
	judgeApproval(&l, in, was)
	judgePreserve(&l, in, was)
	return l.Errors()
}

func validateDefinitionStatus(d, _ *definition) field.ErrorList {
	in, errs := internal(&definition{Status: d.Status})
	if errs != nil {
		return errs
	}
	var l rules.List
	judgeNames(&l, &in.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))
	return l.Errors()
}

// judgeStatus wants every version that objects may be stored in to be there.
func judgeStatus(l *rules.List, d *inner.CustomResourceDefinition) {
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
		if !slices.ContainsFunc(d.Spec.Versions, func(v inner.CustomResourceDefinitionVersion) bool { return v.Name == name }) {
			l.Invalid(path.Index(i), name, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name))
		}
	}
}

// judgeApproval wants definitions in Kubernetes' own groups to say who approved them.
func judgeApproval(l *rules.List, d, old *inner.CustomResourceDefinition) {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return
	}
	state, reason := apihelpers.GetAPIApprovalState(d.Annotations)
	if old != nil {
		if was, _ := apihelpers.GetAPIApprovalState(old.Annotations); was == state {
			return
		}
	}
	const name = apiextensionsv1beta1.KubeAPIApprovedAnnotation
	path := field.NewPath("metadata", "annotations").Key(name)
	switch state {
	case apihelpers.APIApproved, apihelpers.APIApprovalBypassed:
	case apihelpers.APIApprovalMissing:
		l.Required(path, reason)
	default:
		l.Invalid(path, d.Annotations[name], reason)
	}
}

func preserves(s *inner.CustomResourceDefinitionSpec) bool {
	return s.PreserveUnknownFields != nil && *s.PreserveUnknownFields
}

func judgePreserve(l *rules.List, d, old *inner.CustomResourceDefinition) {
	if (old == nil || !preserves(&old.Spec)) && preserves(&d.Spec) {
		l.Invalid(field.NewPath("spec", "preserveUnknownFields"), d.Spec.PreserveUnknownFields, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")
	}
}

// spec judges the specification.
func (j *judge) spec(s *inner.CustomResourceDefinitionSpec) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if s.Group == "" {
		l.Required(path.Child("group"), "")
	} else if msgs := utilvalidation.IsDNS1123Subdomain(s.Group); len(msgs) > 0 {
		l.Invalid(path.Child("group"), s.Group, strings.Join(msgs, ","))
	} else if !strings.Contains(s.Group, ".") {
		l.Invalid(path.Child("group"), s.Group, "should be a domain with at least one dot")
	}
	rules.SupportedOrRequired(&l, path.Child("scope"), s.Scope, inner.ClusterScoped, inner.NamespaceScoped)
	keep := s.PreserveUnknownFields == nil || *s.PreserveUnknownFields
	if !preserves(s) {
		j.structural = true
	}
	if s.Validation == nil || s.Validation.OpenAPIV3Schema == nil {
		for i, v := range s.Versions {
			if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
				continue
			}
			at := path.Child("versions").Index(i).Child("schema", "openAPIV3Schema")
			switch {
			case j.openAPI:
				l.Required(at, "")
			case !preserves(s) && v.Served:
				l.Required(at, "because otherwise all fields are pruned")
			}
		}
	}
	if anySchema(s, func(p *inner.JSONSchemaProps) bool { return p.Default != nil }) {
		j.structural = true
		if keep {
			l.Invalid(path.Child("preserveUnknownFields"), true, "must be false in order to use defaults in the schema")
		}
	}
	if anySchema(s, extended) {
		j.structural = true
	}
	j.versions(&l, s, path)
	j.common(&l, s, path)
	if s.Conversion != nil && s.Conversion.Strategy != inner.NoneConverter && keep {
		l.Invalid(path.Child("conversion", "strategy"), s.Conversion.Strategy, "must be None if spec.preserveUnknownFields is true")
	}
	if s.Conversion != nil {
		j.conversion(&l, s.Conversion, path.Child("conversion"))
	}
	return l.Errors()
}

// versions judges what each version says.
func (j *judge) versions(l *rules.List, s *inner.CustomResourceDefinitionSpec, path *field.Path) {
	storage, unique, seen := 0, true, map[string]bool{}
	perVersion := slices.ContainsFunc(s.Versions, func(v inner.CustomResourceDefinitionVersion) bool { return v.Subresources != nil })
	for i := range s.Versions {
		v, at := &s.Versions[i], path.Child("versions").Index(i)
		if v.Storage {
			storage++
		}
		unique = unique && !seen[v.Name]
		seen[v.Name] = true
		if msgs := utilvalidation.IsDNS1035Label(v.Name); len(msgs) > 0 {
			l.Invalid(at.Child("name"), v.Name, strings.Join(msgs, ","))
		}
		sub := s.Subresources
		if perVersion {
			sub = v.Subresources
		}
		j.version(l, v, sub, at)
	}
	values := []struct {
		name    string
		all     bool
		has     func(*inner.CustomResourceDefinitionVersion) any
		plural  string
		instead string
	}{
		{"validation", s.Validation != nil, func(v *inner.CustomResourceDefinitionVersion) any { return v.Schema }, "schemas", "validation"},
		{"subresources", s.Subresources != nil, func(v *inner.CustomResourceDefinitionVersion) any { return v.Subresources }, "subresources", "subresources"},
		{"additionalPrinterColumns", len(s.AdditionalPrinterColumns) > 0, func(v *inner.CustomResourceDefinitionVersion) any { return v.AdditionalPrinterColumns }, "additionalPrinterColumns", "additionalPrinterColumns"},
	}
	for _, x := range values {
		if x.all && slices.ContainsFunc(s.Versions, func(v inner.CustomResourceDefinitionVersion) bool { return !empty(x.has(&v)) }) {
			l.Forbidden(path.Child(x.name), "top-level and per-version "+x.plural+" are mutually exclusive")
		}
	}
	for _, x := range values {
		same := len(s.Versions) > 0
		for i := range s.Versions {
			same = same && !empty(x.has(&s.Versions[i])) && equality.Semantic.DeepEqual(x.has(&s.Versions[i]), x.has(&s.Versions[0]))
		}
		if same {
			l.Invalid(path.Child("versions"), s.Versions, fmt.Sprintf("per-version %s may not all be set to identical values (top-level %s should be used instead)", x.plural, x.instead))
		}
	}
	if !unique {
		l.Invalid(path.Child("versions"), s.Versions, "must contain unique version names")
	}
	if storage != 1 {
		l.Invalid(path.Child("versions"), s.Versions, "must have exactly one version marked as storage version")
	}
	if s.Version != "" {
		if msgs := utilvalidation.IsDNS1035Label(s.Version); len(msgs) > 0 {
			l.Invalid(path.Child("version"), s.Version, strings.Join(msgs, ","))
		}
		if len(s.Versions) >= 1 && s.Versions[0].Name != s.Version {
			l.Invalid(path.Child("version"), s.Version, "must match the first version in spec.versions")
		}
	}
}

// empty tells whether a pointer or a list says nothing.
func empty(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil() || r.Kind() == reflect.Slice && r.Len() == 0
}

func (j *judge) version(l *rules.List, v *inner.CustomResourceDefinitionVersion, sub *inner.CustomResourceSubresources, at *field.Path) {
	judgeDeprecation(l, v, at.Child("deprecationWarning"))
	l.Add(j.validation(v.Schema, hasStatus(sub), v.Name, at.Child("schema"))...)
	judgeSubresources(l, v.Subresources, at.Child("subresources"))
	for k := range v.AdditionalPrinterColumns {
		judgeColumn(l, &v.AdditionalPrinterColumns[k], at.Child("additionalPrinterColumns").Index(k))
	}
	if len(v.SelectableFields) > 0 {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			l.Invalid(at.Child("selectableFields"), "", "may only be set when `version.schema.openAPIV3Schema` is not included")
			return
		}
		j.selectable(l, v.SelectableFields, v.Schema.OpenAPIV3Schema, v.Name, at)
	}
}

// common judges what is said for all versions.
func (j *judge) common(l *rules.List, s *inner.CustomResourceDefinitionSpec, path *field.Path) {
	for _, n := range []struct{ name, value string }{
		{"plural", s.Names.Plural}, {"singular", s.Names.Singular}, {"kind", s.Names.Kind}, {"listKind", s.Names.ListKind},
	} {
		l.Need(path.Child("names"), n.name, n.value)
	}
	judgeNames(l, &s.Names, path.Child("names"))
	status := hasStatus(s.Subresources) || slices.ContainsFunc(s.Versions, func(v inner.CustomResourceDefinitionVersion) bool { return hasStatus(v.Subresources) })
	l.Add(j.validation(s.Validation, status, s.Version, path.Child("validation"))...)
	judgeSubresources(l, s.Subresources, path.Child("subresources"))
	for i := range s.AdditionalPrinterColumns {
		judgeColumn(l, &s.AdditionalPrinterColumns[i], path.Child("additionalPrinterColumns").Index(i))
	}
	if len(s.SelectableFields) > 0 {
		if s.Validation == nil {
			l.Invalid(path.Child("selectableFields"), "", "may only be set when validations.schema is included")
			return
		}
		j.selectable(l, s.SelectableFields, s.Validation.OpenAPIV3Schema, "", path)
	}
}

func hasStatus(s *inner.CustomResourceSubresources) bool { return s != nil && s.Status != nil }

// maxSelectable is how many fields a version may have for field selectors.
const maxSelectable = 8

func (j *judge) selectable(l *rules.List, fields []inner.SelectableField, props *inner.JSONSchemaProps, version string, at *field.Path) {
	schema, err := structuralschema.NewStructural(props)
	if err != nil {
		l.Invalid(at.Child("schema.openAPIV3Schema"), "", err.Error())
	}
	path, seen := at.Child("selectableFields"), map[string]bool{}
	for i, f := range fields {
		at := path.Index(i).Child("jsonPath")
		if f.JSONPath == "" {
			l.Required(at, "")
			continue
		}
		found, target, err := cel.ValidFieldPath(f.JSONPath, schema, cel.WithFieldPathAllowArrayNotation(false))
		if err != nil {
			l.Invalid(at, f.JSONPath, fmt.Sprintf("is an invalid path: %v", err))
			continue
		}
		if found.Root().String() == "metadata" {
			l.Invalid(at, f.JSONPath, "must not point to fields in metadata")
		}
		if target == nil || target.Type != "string" && target.Type != "boolean" && target.Type != "integer" {
			l.Invalid(at, f.JSONPath, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.")
		}
		if seen[found.String()] {
			l.Duplicate(at, f.JSONPath)
		}
		seen[found.String()] = true
	}
	if len(seen) > maxSelectable && !j.manySelectable[version] {
		l.Add(field.TooMany(path, len(seen), maxSelectable))
	}
}

func judgeDeprecation(l *rules.List, v *inner.CustomResourceDefinitionVersion, path *field.Path) {
	text := v.DeprecationWarning
	switch {
	case text == nil:
		return
	case !v.Deprecated:
		l.Invalid(path, text, "can only be set for deprecated versions")
		return
	}
	if len(*text) > 256 {
		l.Invalid(path, text, "must be <= 256 characters long")
	}
	if *text == "" {
		l.Invalid(path, text, "must not be an empty string")
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

func judgeColumn(l *rules.List, c *inner.CustomResourceColumnDefinition, path *field.Path) {
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
	if c.JSONPath == "" {
		l.Required(path.Child("JSONPath"), "")
	} else {
		simplePath(l, c.JSONPath, path.Child("JSONPath"))
	}
}

// simplePath tells whether a JSON path is one in dot notation.
func simplePath(l *rules.List, s string, path *field.Path) bool {
	if s[0] != '.' {
		l.Invalid(path, s, "must be a simple json path starting with .")
		return false
	}
	return true
}

func judgeSubresources(l *rules.List, s *inner.CustomResourceSubresources, path *field.Path) {
	if s == nil || s.Scale == nil {
		return
	}
	for _, x := range []struct{ name, value, under string }{
		{"scale.specReplicasPath", s.Scale.SpecReplicasPath, ".spec"}, {"scale.statusReplicasPath", s.Scale.StatusReplicasPath, ".status"},
	} {
		if x.value == "" {
			l.Required(path.Child(x.name), "")
		} else if simplePath(l, x.value, path.Child(x.name)) && !strings.HasPrefix(x.value, x.under+".") {
			l.Invalid(path.Child(x.name), x.value, "should be a json path under "+x.under)
		}
	}
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		at := path.Child("scale.labelSelectorPath")
		if simplePath(l, *p, at) && !strings.HasPrefix(*p, ".spec.") && !strings.HasPrefix(*p, ".status.") {
			l.Invalid(at, p, "should be a json path under either .spec or .status")
		}
	}
}

func judgeNames(l *rules.List, n *inner.CustomResourceDefinitionNames, path *field.Path) {
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

func (j *judge) conversion(l *rules.List, c *inner.CustomResourceConversion, path *field.Path) {
	rules.SupportedOrRequired(l, path.Child("strategy"), c.Strategy, inner.NoneConverter, inner.WebhookConverter)
	client, versions := path.Child("webhookClientConfig"), path.Child("conversionReviewVersions")
	if c.Strategy != inner.WebhookConverter {
		if c.WebhookClientConfig != nil {
			l.Forbidden(client, "should not be set when strategy is not set to Webhook")
		}
		if len(c.ConversionReviewVersions) > 0 {
			l.Forbidden(versions, "should not be set when strategy is not set to Webhook")
		}
		return
	}
	if c.WebhookClientConfig == nil {
		l.Required(client, "required when strategy is set to Webhook")
	} else {
		judgeClient(l, c.WebhookClientConfig, client)
		if b := c.WebhookClientConfig.CABundle; len(b) > 0 && !j.badBundle {
			if err := judgeBundle(b); err != nil {
				l.Invalid(client.Child("caBundle"), b, err.Error())
			}
		}
	}
	list := c.ConversionReviewVersions
	if len(list) == 0 {
		l.Required(versions, "")
		return
	}
	seen := map[string]bool{}
	for i, v := range list {
		if seen[v] {
			l.Invalid(versions.Index(i), v, "duplicate version")
			continue
		}
		seen[v] = true
		l.Messages(versions.Index(i), v, utilvalidation.IsDNS1035Label(v))
	}
	if j.reviewVersion && !knownReview(list) {
		l.Invalid(versions, list, "must include at least one of v1, v1beta1")
	}
}

func knownReview(list []string) bool {
	return slices.Contains(list, "v1") || slices.Contains(list, "v1beta1")
}

// judgeClient judges where a webhook is (apiserver/pkg/util/webhook). Kubernetes
// passes name and namespace of a service the wrong way round here.
func judgeClient(l *rules.List, c *inner.WebhookClientConfig, path *field.Path) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		l.Required(path, "exactly one of url or service is required")
	case c.URL != nil:
		const form = "; desired format: https://host[/path]"
		at := path.Child("url")
		u, err := url.Parse(*c.URL)
		if err != nil {
			l.Required(at, "url must be a valid URL: "+err.Error()+form)
			return
		}
		if u.Scheme != "https" {
			l.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form)
		}
		if u.Host == "" {
			l.Invalid(at, u.Host, "host must be specified"+form)
		}
		if u.User != nil {
			l.Invalid(at, u.User.String(), "user information is not permitted in the URL")
		}
		if u.Fragment != "" {
			l.Invalid(at, u.Fragment, "fragments are not permitted in the URL")
		}
		if u.RawQuery != "" {
			l.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL")
		}
	default:
		at := path.Child("service")
		if c.Service.Namespace == "" {
			l.Required(at.Child("name"), "")
		}
		if c.Service.Name == "" {
			l.Required(at.Child("namespace"), "")
		}
		if msgs := utilvalidation.IsValidPortNum(int(c.Service.Port)); msgs != nil {
			l.Invalid(at.Child("port"), c.Service.Port, "port is not valid: "+strings.Join(msgs, ", "))
		}
		if c.Service.Path != nil {
			judgePath(l, *c.Service.Path, at.Child("path"))
		}
	}
}

func judgePath(l *rules.List, p string, at *field.Path) {
	if p == "" || p == "/" {
		return
	}
	if p == "//" {
		l.Invalid(at, p, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(p, "/") {
		l.Invalid(at, p, "must start with a '/'")
	}
	for i, step := range strings.Split(strings.TrimSuffix(p[1:], "/"), "/") {
		if step == "" {
			l.Invalid(at, p, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1123Subdomain(step) {
			l.Invalid(at, p, fmt.Sprintf("segment[%d]: %v", i, msg))
		}
	}
}

// judgeBundle reads certificates as client-go's transport does.
func judgeBundle(b []byte) error {
	found := false
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("unable to load root certificates: failed to parse certificate: %w", err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("unable to load root certificates: unable to parse bytes as PEM block")
	}
	return nil
}
