package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// binding is what a scheduler posts; the server turns it into a change of the pod.
func binding() *kinds.Kind {
	return &kinds.Kind{
		Version: "v1", Kind: "Binding",
		Resource: "bindings", Singular: "binding",
		Namespaced: true,
		Served:     row.Hub("", "v1"),
		Verbs:      []string{"create"},
		Virtual:    true,
		New:        row.Make[v1.Binding](),
		Name:       rules.DNSSubdomain,
		Validate:   rules.Check(ValidateBinding),
	}
}

// ValidateBinding judges what a scheduler posts, to bindings or to a pod's binding.
func ValidateBinding(b *v1.Binding) field.ErrorList {
	var l rules.List
	if kind := b.Target.Kind; kind != "" {
		if kind != "Node" {
			l.Add(field.NotSupported(field.NewPath("target", "kind"), kind, []string{"Node", "<empty>"}))
		}
	}
	l.Need(field.NewPath("target"), "name", b.Target.Name)
	return l.Errors()
}
