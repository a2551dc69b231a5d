package core

import (
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func namespace() *kinds.Kind {
	k := newKind[v1.Namespace, v1.NamespaceList]("namespaces", false, "ns")
	k.Verbs = []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	k.Name = rules.DNSLabel
	k.Default = rules.Do(defaultNamespace)
	k.PrepareCreate = rules.Do(func(ns *v1.Namespace) {
		nameLabel(ns)
		ns.Status = v1.NamespaceStatus{Phase: v1.NamespaceActive}
		if !slices.Contains(ns.Spec.Finalizers, v1.FinalizerKubernetes) {
			ns.Spec.Finalizers = append(ns.Spec.Finalizers, v1.FinalizerKubernetes)
		}
	})
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.Namespace) {
		obj.Spec.Finalizers, obj.Status = old.Spec.Finalizers, old.Status
		nameLabel(obj)
	})
	k.Validate = rules.Check(validateNamespace)
	k.ValidateUpdate = rules.Check2(validateNamespaceUpdate)
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(func(obj, old *v1.Namespace) { obj.Spec = old.Spec; nameLabel(obj) }),
			ValidateUpdate: rules.Check2(validateNamespaceStatus),
			Reset:          []string{"spec"},
		},
		"finalize": {
			Verbs:          []string{"update"},
			PrepareUpdate:  rules.Do2(func(obj, old *v1.Namespace) { obj.Status = old.Status; nameLabel(obj) }),
			ValidateUpdate: rules.Check2(validateNamespaceFinalize),
			Reset:          []string{"status"},
		},
	}
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Status", "The status of the namespace"),
		rules.AgeColumn(),
	}
	k.Cells = rules.Cells(func(ns *v1.Namespace, now time.Time) []any {
		return []any{ns.Name, string(ns.Status.Phase), rules.Age(ns.CreationTimestamp, now)}
	})
	k.Fields = map[string]func(kinds.Object) string{
		"status.phase": rules.Field(func(ns *v1.Namespace) string { return string(ns.Status.Phase) }),
	}
	return k
}

// defaultNamespace labels a namespace with its name; PrepareCreate does so again, by
// when a name is generated.
func defaultNamespace(ns *v1.Namespace) {
	nameLabel(ns)
	if ns.Status.Phase == "" {
		ns.Status.Phase = v1.NamespaceActive
	}
}

func nameLabel(ns *v1.Namespace) {
	if ns.Name == "" || ns.Labels[v1.LabelMetadataName] == ns.Name {
		return
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[v1.LabelMetadataName] = ns.Name
}
