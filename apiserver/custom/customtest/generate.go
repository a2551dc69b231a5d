// Package customtest makes CustomResourceDefinitions of the size and shape of those
// that well-known operators install: hundreds of described fields, pod templates
// within, lists merged by keys, defaults, enums and some rules in CEL.
package customtest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

type (
	definition = apiextensionsv1.CustomResourceDefinition
	props      = apiextensionsv1.JSONSchemaProps
)

const words = "the controller will use this field to select which of the referenced resources are considered when it reconciles an object; if it is not set the default of the cluster applies and a condition says so defaults to optional name must be unique within namespace cannot be updated more info label selector secret key certificate renewal storage volume container image probe timeout seconds threshold"

// Definition makes the i'th definition; the same i gives the same. It has 500 to
// 2,000 fields.
func Definition(i int) *definition {
	g := &generator{r: rand.New(rand.NewPCG(uint64(i), 1)), words: strings.Fields(words)}
	g.left = 500 + g.r.IntN(1500)
	kind := fmt.Sprintf("Thing%d", i)
	group := fmt.Sprintf("group%d.example.com", i/10)
	root := props{Type: "object", Description: g.text(20), Properties: map[string]props{
		"apiVersion": {Type: "string", Description: g.text(30)},
		"kind":       {Type: "string", Description: g.text(30)},
		"metadata":   {Type: "object"},
		"status": {Type: "object", Description: g.text(10), Properties: map[string]props{
			"conditions": g.conditions(), "phase": {Type: "string"}, "replicas": {Type: "integer"}}},
	}}
	for g.left > 0 {
		root.Properties["spec"] = g.object(0)
	}
	root.Required = []string{"spec"}
	return &definition{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ToLower(kind) + "s." + group, Annotations: map[string]string{"controller-gen.kubebuilder.io/version": "v0.17.2"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: strings.ToLower(kind) + "s", Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List", ShortNames: []string{fmt.Sprintf("th%d", i)}, Categories: []string{"things"}},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &root},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{
					{Name: "Ready", Type: "string", JSONPath: `.status.conditions[?(@.type == "Ready")].status`, Description: g.text(8)},
					{Name: "Phase", Type: "string", JSONPath: ".status.phase"},
					{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
				},
			}},
		},
	}
}

type generator struct {
	r     *rand.Rand
	words []string
	left  int // fields still to be made
	made  int
}

func (g *generator) text(n int) string {
	var b strings.Builder
	for i := range n/2 + g.r.IntN(n) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(g.words[g.r.IntN(len(g.words))])
	}
	return b.String() + "."
}

func (g *generator) name() string {
	g.made++
	a, b := g.words[g.r.IntN(len(g.words))], g.words[g.r.IntN(len(g.words))]
	return a + strings.ToUpper(b[:1]) + strings.Trim(b[1:], ";") + fmt.Sprint(g.made%7)
}

// object makes an object with a handful of fields, some of which have fields again.
func (g *generator) object(depth int) props {
	p := props{Type: "object", Description: g.text(12), Properties: map[string]props{}}
	for range 6 + g.r.IntN(10) {
		if g.left--; g.left < 0 && depth > 0 {
			break
		}
		p.Properties[g.name()] = g.field(depth)
	}
	if depth == 2 {
		for name := range p.Properties {
			p.Required = append(p.Required, name)
			break
		}
	}
	return p
}

func (g *generator) field(depth int) props {
	d := g.text(16)
	switch n := g.r.IntN(12); {
	case n < 3 && depth < 6:
		return g.object(depth + 1)
	case n == 3 && depth < 6:
		o := g.object(depth + 1)
		o.Properties["name"] = props{Type: "string", Description: g.text(6), MaxLength: ptr.To[int64](63)}
		o.Required = []string{"name"}
		return props{Type: "array", Description: d, Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &o}, XListType: ptr.To("map"), XListMapKeys: []string{"name"}}
	case n == 4:
		return props{Type: "object", Description: d, AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &props{Type: "string"}}}
	case n == 5:
		return props{Type: "integer", Format: "int32", Description: d, Minimum: ptr.To(0.0), Default: &apiextensionsv1.JSON{Raw: []byte("1")}}
	case n == 6:
		return props{Type: "boolean", Description: d}
	case n == 7:
		return props{Description: d, XIntOrString: true, AnyOf: []props{{Type: "integer"}, {Type: "string"}}, Pattern: `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`}
	case n == 8:
		return props{Type: "string", Description: d, Enum: []apiextensionsv1.JSON{{Raw: []byte(`"Always"`)}, {Raw: []byte(`"Never"`)}, {Raw: []byte(`"IfNotPresent"`)}}}
	case n == 9:
		return props{Type: "array", Description: d, Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &props{Type: "string"}}}
	case n == 10 && depth < 3:
		return props{Type: "string", Description: d, MaxLength: ptr.To[int64](253), XValidations: apiextensionsv1.ValidationRules{{Rule: "self.size() > 0", Message: "must not be empty"}}}
	}
	return props{Type: "string", Description: d}
}

func (g *generator) conditions() props {
	item := props{Type: "object", Description: g.text(20), Required: []string{"type", "status"}, Properties: map[string]props{
		"type": {Type: "string", Description: g.text(10)}, "status": {Type: "string", Enum: []apiextensionsv1.JSON{{Raw: []byte(`"True"`)}, {Raw: []byte(`"False"`)}, {Raw: []byte(`"Unknown"`)}}},
		"reason": {Type: "string", Description: g.text(10)}, "message": {Type: "string", Description: g.text(10)}, "lastTransitionTime": {Type: "string", Format: "date-time", Description: g.text(15)},
	}}
	return props{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}, XListType: ptr.To("map"), XListMapKeys: []string{"type"}}
}
