package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// binding is what a scheduler posts; the server turns it into a change of the pod.
func binding() *kinds.Kind {
	k := row("Binding", "bindings", "binding", true, func() kinds.Object { return &v1.Binding{} }, nil)
	k.List = ""
	k.Verbs = []string{"create"}
	k.Virtual = true
	k.Name = rules.DNSSubdomain
	k.Validate = rules.Check(ValidateBinding)
	return k
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
