package core

import (
	v1 "k8s.io/api/core/v1"

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
