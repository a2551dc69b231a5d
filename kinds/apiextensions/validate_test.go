package apiextensions

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const base = `
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  conversion: {strategy: None}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: %SCHEMA%
status: {storedVersions: [v1], acceptedNames: {plural: "", kind: ""}, conditions: []}
`

func parse(t *testing.T, text string) *definition {
	t.Helper()
	d := &definition{}
	if err := yaml.UnmarshalStrict([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func withSchema(t *testing.T, schema string) *definition {
	return parse(t, strings.Replace(base, "%SCHEMA%", schema, 1))
}

const at = "spec.validation.openAPIV3Schema"

// TestSchemas judges schemas; what is wanted are Kubernetes' messages, in order.
func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		name, schema string
		want         []string
	}{
		{"good", `{type: object, properties: {spec: {type: object, properties: {n: {type: integer, default: 3}}}}}`, nil},
		{"no type", `{properties: {a: {type: string}}}`, []string{at + `.type: Required value: must not be empty at the root`}},
		{"no type below", `{type: object, properties: {a: {}}}`, []string{at + `.properties[a].type: Required value: must not be empty for specified object fields`}},
		{"a type that is none", `{type: object, properties: {a: {type: text}}}`,
			[]string{at + `.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"`}},
		{"a default of the wrong type", `{type: object, properties: {a: {type: integer, default: x}}}`,
			[]string{at + `.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"`}},
		{"both", `{type: object, properties: {a: {type: object, additionalProperties: {type: string}, properties: {b: {type: string}}}}}`,
			[]string{at + `.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive`}},
		{"unique", `{type: object, properties: {a: {type: array, uniqueItems: true, items: {type: string}}}}`,
			[]string{at + `.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic`}},
		{"keys of nothing", `{type: object, properties: {a: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {b: {type: string}}}}}}`,
			[]string{at + `.properties[a].x-kubernetes-list-map-keys: Invalid value: ["k"]: entries must all be names of item properties`}},
		{"keys that may be missing", `{type: object, properties: {a: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}}}`,
			[]string{at + `.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property`}},
		{"a set of objects", `{type: object, properties: {a: {type: array, x-kubernetes-list-type: set, items: {type: object}}}}`,
			[]string{at + `.properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set`}},
		{"nullable root", `{type: object, nullable: true}`, []string{at + `.nullable: Forbidden: nullable cannot be true at the root`}},
		{"a rule that does not compile", `{type: object, properties: {a: {type: string, maxLength: 5, x-kubernetes-validations: [{rule: "self > 3"}]}}}`,
			[]string{"compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_' applied to '(string, int)'"}},
		{"an unknown reason", `{type: object, properties: {a: {type: string, maxLength: 5, x-kubernetes-validations: [{rule: "self == ''", reason: Bad}]}}}`,
			[]string{at + `.properties[a].x-kubernetes-validations[0].reason: Unsupported value: "Bad": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"`}},
		{"a rule of many lines without a message", `{type: object, properties: {a: {type: string, maxLength: 5, x-kubernetes-validations: [{rule: "self ==\n''"}]}}}`,
			[]string{at + `.properties[a].x-kubernetes-validations[0].message: Required value: message must be specified if rule contains line breaks`}},
		{"old self in a list", `{type: object, properties: {a: {type: array, maxItems: 3, items: {type: string, maxLength: 5, x-kubernetes-validations: [{rule: "self == oldSelf"}]}}}}`,
			[]string{at + `.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[a]`}},
		{"too dear", `{type: object, properties: {a: {type: array, items: {type: string}, x-kubernetes-validations: [{rule: "self.all(x, self.all(y, x == y))"}]}}}`,
			[]string{at + `.properties[a].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`,
				at + `.properties[a].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema`,
				at + `: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)`}},
		{"bounded", `{type: object, properties: {a: {type: array, maxItems: 10, items: {type: string, maxLength: 10}, x-kubernetes-validations: [{rule: "self.all(x, self.all(y, x == y))"}]}}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			errs := validateDefinition(withSchema(t, c.schema))
			for i, w := range c.want {
				if i >= len(errs) || !strings.Contains(errs[i].Error(), w) {
					t.Errorf("want %s\n in %v", w, errs)
				}
			}
			if len(errs) != len(c.want) {
				t.Errorf("%d errors, want %d: %v", len(errs), len(c.want), errs)
			}
		})
	}
}

// TestKept: what an old definition was allowed stays allowed in its update.
func TestKept(t *testing.T) {
	dear := `{type: object, properties: {a: {type: array, x-kubernetes-list-type: set, items: {type: object}}}}`
	old, same := withSchema(t, dear), withSchema(t, dear)
	if errs := validateDefinitionUpdate(same, old); len(errs) > 0 {
		t.Errorf("an unchanged schema: %v", errs)
	}
	if errs := validateDefinitionUpdate(same, withSchema(t, `{type: object}`)); len(errs) != 1 {
		t.Errorf("a new schema: %v", errs)
	}
	cost := `{type: object, properties: {a: {type: array, items: {type: string}, x-kubernetes-validations: [{rule: "self.all(x, self.all(y, x == y))"}]}}}`
	if errs := validateDefinitionUpdate(withSchema(t, cost), withSchema(t, cost)); len(errs) != 2 {
		t.Errorf("the cost of a single rule that was there is passed over, the total is not: %v", errs)
	}
}

func TestDefinitions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*definition)
		want   string
	}{
		{"two storage versions", func(d *definition) {
			v := d.Spec.Versions[0]
			v.Name = "v2"
			d.Spec.Versions = append(d.Spec.Versions, v)
		}, "must have exactly one version marked as storage version"},
		{"a column without a dot", func(d *definition) {
			d.Spec.Versions[0].AdditionalPrinterColumns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "a", Type: "string", JSONPath: "spec"}}
		}, `spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .`},
		{"a scale of nothing", func(d *definition) {
			d.Spec.Versions[0].Subresources = &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".status.n", StatusReplicasPath: ".status.n"}}
		}, `spec.subresources.scale.specReplicasPath: Invalid value: ".status.n": should be a json path under .spec`},
		{"a selectable object", func(d *definition) {
			d.Spec.Versions[0].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".spec"}}
		}, `spec.selectableFields[0].jsonPath: Invalid value: ".spec": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.`},
		{"a webhook without a client", func(d *definition) {
			d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
		}, `spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook`},
		{"a group of Kubernetes'", func(d *definition) { d.Spec.Group, d.Name = "x.k8s.io", "widgets.x.k8s.io" },
			`metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := withSchema(t, `{type: object, properties: {spec: {type: object}}}`)
			c.change(d)
			errs := validateDefinition(d)
			if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), c.want) {
				t.Errorf("want %s\n in %v", c.want, errs)
			}
		})
	}
}

func TestFormatWarnings(t *testing.T) {
	d := withSchema(t, `{type: object, properties: {a: {type: string, format: nope}, b: {type: string, format: date-time}}}`)
	if got := formatWarnings(d, nil); len(got) != 1 || got[0] != `unrecognized format "nope"` {
		t.Error(got)
	}
	if got := formatWarnings(d, d); len(got) != 0 {
		t.Error(got)
	}
}
