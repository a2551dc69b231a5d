package networking

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func ingressClass() *kinds.Kind {
	type T = *networkingv1.IngressClass
	return row.Fill[networkingv1.IngressClass, networkingv1.IngressClassList](networkingv1.SchemeGroupVersion, &kinds.Kind{
		Resource:       "ingressclasses",
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultIngressClass),
		Generation:     rules.Differ(func(c, old T) bool { return !row.Same(c.Spec, old.Spec) }),
		Validate:       rules.Check(validateIngressClass),
		ValidateUpdate: rules.Check2(validateIngressClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Controller", "Controller that is responsible for handling this class"),
			rules.Column("Parameters", "A reference to a resource with additional parameters"),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(ingressClassCells),
	}, oldIngressClass()...)
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if p := c.Spec.Parameters; p != nil && p.Scope == nil {
		p.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

func ingressClassCells(c *networkingv1.IngressClass, now time.Time) []any {
	name := c.Name
	if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	parameters := "<none>"
	if p := c.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, c.Spec.Controller, parameters, rules.Age(c.CreationTimestamp, now)}
}
