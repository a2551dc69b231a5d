package apiextensions

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	inner "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"skiff.dev/skiff/kinds/rules"
)

// judge says how strictly a definition is judged: what the one that it replaces was
// allowed stays allowed.
type judge struct {
	reviewVersion  bool // conversion knows a ConversionReview of ours
	openAPI        bool // every version has a schema
	propertyTypes  bool
	structural     bool
	prunedDefaults bool
	atomicSets     bool
	mapKeys        bool
	badBundle      bool // an unreadable CA bundle is let through
	manySelectable map[string]bool
	unchanged      map[string]bool // versions with the schema that they had
	known          expressions

	env *environment.EnvSet
}

// expressions are the rules that the old definition had: they compile in the
// environment in which they were stored.
type expressions struct{ rules, messages map[string]bool }

func (e expressions) RuleEnv(s *environment.EnvSet, x string) *celgo.Env {
	if e.rules[x] {
		return s.StoredExpressionsEnv()
	}
	return s.NewExpressionsEnv()
}

func (e expressions) MessageExpressionEnv(s *environment.EnvSet, x string) *celgo.Env {
	if e.messages[x] {
		return s.StoredExpressionsEnv()
	}
	return s.NewExpressionsEnv()
}

// newJudge looks at what is replaced; old is nil on creation.
func newJudge(old, d *inner.CustomResourceDefinition) *judge {
	j := &judge{reviewVersion: true, openAPI: true, propertyTypes: true, structural: true, prunedDefaults: true,
		atomicSets: true, mapKeys: true, badBundle: true, env: environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())}
	if old == nil {
		return j
	}
	was := &old.Spec
	if c := was.Conversion; c != nil {
		j.reviewVersion = len(c.ConversionReviewVersions) == 0 || knownReview(c.ConversionReviewVersions)
	}
	if inner.IsCRDConditionTrue(old, inner.Established) {
		c := was.Conversion
		j.badBundle = c != nil && c.WebhookClientConfig != nil && len(c.WebhookClientConfig.CABundle) > 0 && judgeBundle(c.WebhookClientConfig.CABundle) != nil
	}
	j.openAPI = was.Validation != nil && was.Validation.OpenAPIV3Schema != nil ||
		!slices.ContainsFunc(was.Versions, func(v inner.CustomResourceDefinitionVersion) bool {
			return v.Schema == nil || v.Schema.OpenAPIV3Schema == nil
		})
	j.propertyTypes = !anySchema(was, func(p *inner.JSONSchemaProps) bool { return p.Type != "" && !slices.Contains(schemaTypes, p.Type) })
	j.structural = !anyRoot(was, notStructural)
	j.prunedDefaults = !anyRoot(was, unprunedDefaults)
	j.atomicSets = !anySchema(was, func(p *inner.JSONSchemaProps) bool { return len(setItems(p, nil)) > 0 })
	j.mapKeys = !anySchema(was, func(p *inner.JSONSchemaProps) bool { return len(mapKeys(p, nil)) > 0 })
	j.known = expressions{map[string]bool{}, map[string]bool{}}
	anySchema(was, func(p *inner.JSONSchemaProps) bool {
		for _, v := range p.XValidations {
			j.known.rules[v.Rule] = true
			if v.MessageExpression != "" {
				j.known.messages[v.MessageExpression] = true
			}
		}
		return false
	})
	j.unchanged, j.manySelectable = map[string]bool{}, map[string]bool{}
	for _, v := range d.Spec.Versions {
		now, err1 := inner.GetSchemaForVersion(d, v.Name)
		then, err2 := inner.GetSchemaForVersion(old, v.Name)
		j.unchanged[v.Name] = err1 == nil && err2 == nil && equality.Semantic.DeepEqual(now, then)
		for _, o := range was.Versions {
			if o.Name == v.Name && len(o.SelectableFields) > maxSelectable && equality.Semantic.DeepEqual(v.SelectableFields, o.SelectableFields) {
				j.manySelectable[v.Name] = true
			}
		}
	}
	if len(was.SelectableFields) > maxSelectable && equality.Semantic.DeepEqual(d.Spec.SelectableFields, was.SelectableFields) {
		j.manySelectable[""] = true
	}
	return j
}

// anyRoot tells whether test holds for the schema of any version.
func anyRoot(s *inner.CustomResourceDefinitionSpec, test func(*inner.JSONSchemaProps) bool) bool {
	if s.Validation != nil && s.Validation.OpenAPIV3Schema != nil && test(s.Validation.OpenAPIV3Schema) {
		return true
	}
	for _, v := range s.Versions {
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil && test(v.Schema.OpenAPIV3Schema) {
			return true
		}
	}
	return false
}

// anySchema tells whether test holds anywhere in the schema of any version.
func anySchema(s *inner.CustomResourceDefinitionSpec, test func(*inner.JSONSchemaProps) bool) bool {
	return anyRoot(s, func(p *inner.JSONSchemaProps) bool { return within(p, test) })
}

// within tells whether test holds in p or anywhere below.
func within(p *inner.JSONSchemaProps, test func(*inner.JSONSchemaProps) bool) bool {
	if p == nil {
		return false
	}
	if test(p) {
		return true
	}
	list := func(l []inner.JSONSchemaProps) bool {
		return slices.ContainsFunc(l, func(p inner.JSONSchemaProps) bool { return within(&p, test) })
	}
	all := func(m map[string]inner.JSONSchemaProps) bool {
		for _, p := range m {
			if within(&p, test) {
				return true
			}
		}
		return false
	}
	if p.Items != nil && (within(p.Items.Schema, test) || list(p.Items.JSONSchemas)) {
		return true
	}
	if list(p.AllOf) || list(p.AnyOf) || list(p.OneOf) || within(p.Not, test) || all(p.Properties) || all(p.PatternProperties) || all(p.Definitions) {
		return true
	}
	if p.AdditionalProperties != nil && within(p.AdditionalProperties.Schema, test) || p.AdditionalItems != nil && within(p.AdditionalItems.Schema, test) {
		return true
	}
	for _, d := range p.Dependencies {
		if within(d.Schema, test) {
			return true
		}
	}
	return false
}

func extended(p *inner.JSONSchemaProps) bool {
	return p.XEmbeddedResource || p.XPreserveUnknownFields != nil || p.XIntOrString || len(p.XListMapKeys) > 0 || p.XListType != nil || len(p.XValidations) > 0
}

func notStructural(p *inner.JSONSchemaProps) bool {
	s, err := structuralschema.NewStructural(p)
	return err != nil || len(structuralschema.ValidateStructural(nil, s)) > 0
}

func unprunedDefaults(p *inner.JSONSchemaProps) bool {
	if !within(p, func(p *inner.JSONSchemaProps) bool { return p.Default != nil }) || notStructural(p) {
		return false
	}
	s, err := structuralschema.NewStructural(p)
	if err != nil {
		return false
	}
	pruned := s.DeepCopy()
	return structuraldefaulting.PruneDefaults(pruned) == nil && !reflect.DeepEqual(s, pruned)
}

// rootFields may stand at the root of a schema whose status has a path of its own.
var rootFields = []string{"Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"}

// validation judges one schema.
func (j *judge) validation(v *inner.CustomResourceValidation, status bool, version string, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	var l rules.List
	schema, at := v.OpenAPIV3Schema, path.Child("openAPIV3Schema")
	if schema != nil {
		if status {
			judgeRoot(&l, schema, path)
		}
		if schema.Nullable {
			l.Forbidden(path.Child("openAPIV3Schema.nullable"), "nullable cannot be true at the root")
		}
		w := &walker{judge: j, suppress: j.unchanged[version]}
		var root *node
		var early field.ErrorList
		if j.structural {
			if s, err := structuralschema.NewStructural(schema); err != nil {
				early = append(early, field.Invalid(at, "", err.Error()))
			} else if errs := structuralschema.ValidateStructural(at, s); len(errs) > 0 {
				l.Add(errs...)
			} else if errs, err := structuraldefaulting.ValidateDefaults(context.Background(), at, s, true, j.prunedDefaults); err != nil {
				l.Invalid(at, "", err.Error())
			} else if len(errs) > 0 {
				l.Add(errs...)
			} else {
				root = rootNode(schema)
			}
		}
		schemaErrs, celErrs := w.walk(schema, at, place{defaults: true}, true, root)
		l.Add(schemaErrs...)
		l.Add(celErrs...)
		if len(l) == 0 {
			l.Add(early...)
		}
		if root != nil && root.total.sum > totalCostLimit {
			for _, x := range root.total.most {
				l.Forbidden(x.path, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
			}
			l.Forbidden(at, costMessage("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", root.total.sum, totalCostLimit))
		}
	}
	if len(l) == 0 {
		if _, _, err := validation.NewSchemaValidator(schema); err != nil {
			l.Invalid(path, "", fmt.Sprintf("error building validator: %v", err))
		}
	}
	return l.Errors()
}

func judgeRoot(l *rules.List, schema *inner.JSONSchemaProps, path *field.Path) {
	v := reflect.ValueOf(schema).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		switch name := v.Type().Field(i).Name; {
		case name == "Type" && schema.Type != "object":
			l.Invalid(path.Child("openAPIV3Schema.type"), schema.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`)
			return
		case !slices.Contains(rootFields, name):
			l.Invalid(path.Child("openAPIV3Schema"), *schema, fmt.Sprintf(`only %v fields are allowed at the root of the schema if the status subresource is enabled`, rootFields))
			return
		}
	}
}

var schemaTypes = []string{"array", "boolean", "integer", "number", "object", "string"}

// place is where in a schema the walk is.
type place struct {
	defaults bool // defaults may be set
	reason   string
	meta     bool        // within metadata, kind or apiVersion of a resource
	loose    *field.Path // the nearest place to the root whose items are not told apart between old and new
}

// walker judges a schema node by node. Rules in CEL are judged where the schema is
// right, so that their errors are about them.
type walker struct {
	*judge
	suppress bool // of the costs of single expressions
}

func (w *walker) walk(p *inner.JSONSchemaProps, at *field.Path, here place, root bool, n *node) (schemaErrs, celErrs field.ErrorList) {
	if p == nil {
		return nil, nil
	}
	var l rules.List
	w.plain(&l, p, at, here)
	below := func(p *inner.JSONSchemaProps, at *field.Path, here place, n *node) {
		s, c := w.walk(p, at, here, false, n)
		l.Add(s...)
		celErrs = append(celErrs, c...)
	}
	if p.UniqueItems {
		l.Forbidden(at.Child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
	}
	if a := p.AdditionalProperties; a != nil {
		if len(p.Properties) != 0 && (!a.Allows || a.Schema != nil) {
			l.Forbidden(at.Child("additionalProperties"), "additionalProperties and properties are mutual exclusive")
		}
		sub := here
		if here.meta {
			sub.defaults, sub.reason = false, "inside additionalProperties applying to object metadata"
		}
		below(a.Schema, at.Child("additionalProperties"), sub, n.values(a.Schema))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		sub, c := here, p.Properties[name]
		if !cel.MapIsCorrelatable(p.XMapType) && sub.loose == nil {
			sub.loose = at
		}
		if (root || p.XEmbeddedResource) && (name == "metadata" || name == "kind" || name == "apiVersion") {
			sub.meta = true
			if root {
				sub.defaults, sub.reason = false, "in top-level "+name
			}
		}
		below(&c, at.Child("properties").Key(name), sub, n.property(&c, name))
	}
	below(p.Not, at.Child("not"), here, nil)
	for _, x := range []struct {
		name string
		list []inner.JSONSchemaProps
	}{{"allOf", p.AllOf}, {"oneOf", p.OneOf}, {"anyOf", p.AnyOf}} {
		for i := range x.list {
			below(&x.list[i], at.Child(x.name).Index(i), here, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Definitions)) {
		c := p.Definitions[name]
		below(&c, at.Child("definitions").Key(name), here, nil)
	}
	if p.Items != nil {
		sub := here
		if (p.XListType == nil || *p.XListType != "map") && sub.loose == nil {
			sub.loose = at
		}
		below(p.Items.Schema, at.Child("items"), sub, n.items(p.Items.Schema))
		for i := range p.Items.JSONSchemas {
			below(&p.Items.JSONSchemas[i], at.Child("items").Index(i), sub, n.items(&p.Items.JSONSchemas[i]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Dependencies)) {
		below(p.Dependencies[name].Schema, at.Child("dependencies").Key(name), here, nil)
	}
	w.lists(&l, p, at)
	for i, r := range p.XValidations {
		judgeRule(&l, p, r, at.Child("x-kubernetes-validations").Index(i))
	}
	if len(p.XValidations) > 0 && len(l) == 0 && n != nil {
		celErrs = append(celErrs, w.expressions(p, at.Child("x-kubernetes-validations"), here, n)...)
	}
	return l.Errors(), celErrs
}

// plain judges what a node may not say at all.
func (w *walker) plain(l *rules.List, p *inner.JSONSchemaProps, at *field.Path, here place) {
	if w.propertyTypes && p.Type != "" && !slices.Contains(schemaTypes, p.Type) {
		l.Add(field.NotSupported(at.Child("type"), p.Type, schemaTypes))
	}
	if p.Default != nil && !here.defaults {
		detail := "must not be set"
		if here.reason != "" {
			detail += " " + here.reason
		}
		l.Forbidden(at.Child("default"), detail)
	}
	for _, x := range []struct {
		name string
		has  bool
	}{
		{"id", p.ID != ""}, {"additionalItems", p.AdditionalItems != nil}, {"patternProperties", len(p.PatternProperties) != 0},
		{"definitions", len(p.Definitions) != 0}, {"dependencies", p.Dependencies != nil}, {"$ref", p.Ref != nil},
	} {
		if x.has {
			l.Forbidden(at.Child(x.name), x.name+" is not supported")
		}
	}
	if p.Type == "null" {
		l.Forbidden(at.Child("type"), "type cannot be set to null, use nullable as an alternative")
	}
	if p.Items != nil && len(p.Items.JSONSchemas) != 0 {
		l.Forbidden(at.Child("items"), "items must be a schema object and not an array")
	}
	if here.meta && p.XEmbeddedResource {
		l.Forbidden(at.Child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta")
	}
}

// lists judges the extensions that say how lists and maps merge.
func (w *walker) lists(l *rules.List, p *inner.JSONSchemaProps, at *field.Path) {
	if p.XPreserveUnknownFields != nil && !*p.XPreserveUnknownFields {
		l.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), *p.XPreserveUnknownFields, "must be true or undefined")
	}
	must := func(want, extension string) {
		if detail := "must be " + want + " if " + extension + " is specified"; p.Type == "" {
			l.Required(at.Child("type"), detail)
		} else {
			l.Invalid(at.Child("type"), p.Type, detail)
		}
	}
	if p.XMapType != nil {
		if p.Type != "object" {
			must("object", "x-kubernetes-map-type")
		}
		rules.Supported(l, at.Child("x-kubernetes-map-type"), *p.XMapType, "atomic", "granular")
	}
	if p.XListType != nil {
		if p.Type != "array" {
			must("array", "x-kubernetes-list-type")
		} else if w.atomicSets {
			l.Add(setItems(p, at)...)
		}
		rules.Supported(l, at.Child("x-kubernetes-list-type"), *p.XListType, "atomic", "set", "map")
	}
	if len(p.XListMapKeys) > 0 {
		if detail := "must be map if x-kubernetes-list-map-keys is non-empty"; p.XListType == nil {
			l.Required(at.Child("x-kubernetes-list-type"), detail)
		} else if *p.XListType != "map" {
			l.Invalid(at.Child("x-kubernetes-list-type"), *p.XListType, detail)
		}
	}
	if p.XListType != nil && *p.XListType == "map" {
		judgeMapList(l, p, at)
	}
	if w.mapKeys {
		l.Add(mapKeys(p, at)...)
	}
}

// setItems judges the items of a set: they are compared whole.
func setItems(p *inner.JSONSchemaProps, at *field.Path) field.ErrorList {
	if p.XListType == nil || *p.XListType != "set" || p.Items == nil || p.Items.Schema == nil {
		return nil
	}
	const detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
	switch is := p.Items.Schema; {
	case is.Type == "array" && is.XListType != nil && *is.XListType != "atomic":
		return field.ErrorList{field.Invalid(at.Child("items", "x-kubernetes-list-type"), is.XListType, detail)}
	case is.Type == "object" && (is.XMapType == nil || *is.XMapType != "atomic"):
		return field.ErrorList{field.Invalid(at.Child("items", "x-kubernetes-map-type"), is.XListType, detail)}
	}
	return nil
}

func judgeMapList(l *rules.List, p *inner.JSONSchemaProps, at *field.Path) {
	if len(p.XListMapKeys) == 0 {
		l.Required(at.Child("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map")
	}
	if p.Items == nil {
		l.Required(at.Child("items"), "must have a schema if x-kubernetes-list-type is map")
		return
	}
	is := p.Items.Schema
	if is == nil {
		l.Invalid(at.Child("items"), p.Items, "must only have a single schema if x-kubernetes-list-type is map")
		return
	}
	if is.Type != "object" {
		l.Invalid(at.Child("items", "type"), is.Type, "must be object if parent array's x-kubernetes-list-type is map")
		return
	}
	seen := map[string]bool{}
	for _, k := range p.XListMapKeys {
		if s, ok := is.Properties[k]; !ok {
			l.Invalid(at.Child("x-kubernetes-list-map-keys"), p.XListMapKeys, "entries must all be names of item properties")
		} else if s.Type == "array" || s.Type == "object" {
			l.Invalid(at.Child("items", "properties").Key(k).Child("type"), is.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map")
		}
		if seen[k] {
			l.Invalid(at.Child("x-kubernetes-list-map-keys"), p.XListMapKeys, "must not contain duplicate entries")
		}
		seen[k] = true
	}
}

// mapKeys wants every item of a set or map to be there, with its keys.
func mapKeys(p *inner.JSONSchemaProps, at *field.Path) field.ErrorList {
	if p.Items == nil || p.Items.Schema == nil || p.XListType == nil || *p.XListType != "set" && *p.XListType != "map" {
		return nil
	}
	var l rules.List
	is := p.Items.Schema
	if is.Nullable {
		l.Forbidden(at.Child("items", "nullable"), "cannot be nullable when x-kubernetes-list-type is "+*p.XListType)
	}
	if *p.XListType == "set" {
		return l.Errors()
	}
	for _, k := range p.XListMapKeys {
		s, ok := is.Properties[k]
		if !ok {
			continue
		}
		key := at.Child("items", "properties").Key(k)
		if !slices.Contains(is.Required, k) && s.Default == nil {
			l.Required(key.Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property")
		}
		if s.Nullable {
			l.Forbidden(key.Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")
		}
	}
	return l.Errors()
}

var (
	newlines = regexp.MustCompile(`[\n\r]+`)
	reasons  = []string{string(inner.FieldValueDuplicate), string(inner.FieldValueForbidden), string(inner.FieldValueInvalid), string(inner.FieldValueRequired)}
)

// judgeRule judges a rule but for its expressions.
func judgeRule(l *rules.List, p *inner.JSONSchemaProps, r inner.ValidationRule, at *field.Path) {
	rule, msg := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
	switch {
	case rule == "":
		l.Required(at.Child("rule"), "rule is not specified")
	case r.Message != "" && msg == "":
		l.Invalid(at.Child("message"), r.Message, "must be non-empty if specified")
	case newlines.MatchString(msg):
		l.Invalid(at.Child("message"), r.Message, "must not contain line breaks")
	case newlines.MatchString(rule) && msg == "":
		l.Required(at.Child("message"), "message must be specified if rule contains line breaks")
	}
	if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
		l.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified")
	}
	if r.Reason != nil && !slices.Contains(reasons, string(*r.Reason)) {
		l.Add(field.NotSupported(at.Child("reason"), *r.Reason, reasons))
	}
	if r.FieldPath == "" {
		return
	}
	if strings.TrimSpace(r.FieldPath) == "" {
		l.Invalid(at.Child("fieldPath"), r.FieldPath, "must be non-empty if specified")
	}
	if newlines.MatchString(r.FieldPath) {
		l.Invalid(at.Child("fieldPath"), r.FieldPath, "must not contain line breaks")
	}
	if s, err := structuralschema.NewStructural(p); err == nil {
		if _, _, err := cel.ValidFieldPath(r.FieldPath, s); err != nil {
			l.Invalid(at.Child("fieldPath"), r.FieldPath, "must be a valid path")
		}
	}
}

// expressions compiles the rules of a node and weighs them.
func (w *walker) expressions(p *inner.JSONSchemaProps, at *field.Path, here place, n *node) field.ErrorList {
	var l rules.List
	info, err := n.typeInfo()
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("internal error: failed to construct type information for x-kubernetes-validations rules: %w", err))}
	}
	if info == nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("internal error: failed to retrieve type information for x-kubernetes-validations"))}
	}
	results, err := cel.Compile(info.schema, info.decl, celconfig.PerCallLimit, w.env, w.known)
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	for i, r := range results {
		rule, at := &p.XValidations[i], at.Index(i)
		cost := n.cost(r)
		if !w.suppress && cost > costLimit {
			l.Forbidden(at.Child("rule"), costMessage("estimated rule cost", cost, costLimit))
		}
		n.total.observe(at.Child("rule"), cost)
		if r.Error != nil {
			if r.Error.Type == apiservercel.ErrorTypeRequired {
				l.Required(at.Child("rule"), r.Error.Detail)
			} else {
				l.Invalid(at.Child("rule"), *rule, r.Error.Detail)
			}
		}
		switch {
		case r.MessageExpressionError != nil:
			l.Invalid(at.Child("messageExpression"), *rule, r.MessageExpressionError.Detail)
		case r.MessageExpression != nil:
			if !w.suppress && r.MessageExpressionMaxCost > costLimit {
				l.Forbidden(at.Child("messageExpression"), costMessage("estimated messageExpression cost", r.MessageExpressionMaxCost, costLimit))
			}
			n.total.observe(at.Child("messageExpression"), r.MessageExpressionMaxCost)
		}
		switch {
		case r.UsesOldSelf && here.loose != nil:
			l.Invalid(at.Child("rule"), rule.Rule, fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", here.loose))
		case !r.UsesOldSelf && rule.OptionalOldSelf != nil:
			l.Invalid(at.Child("optionalOldSelf"), *rule.OptionalOldSelf, "may not be set if oldSelf is not used in rule")
		}
	}
	return l.Errors()
}
