package core

import (
	v1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validateNamespace(ns *v1.Namespace) field.ErrorList {
	var l rules.List
	for _, f := range ns.Spec.Finalizers {
		namespaceFinalizer(&l, string(f), field.NewPath("spec", "finalizers"))
	}
	return l.Errors()
}

func namespaceFinalizer(l *rules.List, name string, path *field.Path) {
	l.Add(apivalidation.ValidateFinalizerName(name, path)...)
	l.Add(rules.KubeFinalizer(name, path)...)
}

func validateNamespaceUpdate(ns, _ *v1.Namespace) field.ErrorList { return validateNamespace(ns) }

func validateNamespaceStatus(ns, _ *v1.Namespace) field.ErrorList {
	var l rules.List
	phase := ns.Status.Phase
	path := field.NewPath("status", "Phase")
	if ns.DeletionTimestamp.IsZero() && phase != v1.NamespaceActive {
		l.Invalid(path, phase, "may only be 'Active' if `deletionTimestamp` is empty")
	}
	if !ns.DeletionTimestamp.IsZero() && phase != v1.NamespaceTerminating {
		l.Invalid(path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return l.Errors()
}

func validateNamespaceFinalize(ns, _ *v1.Namespace) field.ErrorList {
	var l rules.List
	for i, f := range ns.Spec.Finalizers {
		namespaceFinalizer(&l, string(f), field.NewPath("spec", "finalizers").Index(i))
	}
	return l.Errors()
}
