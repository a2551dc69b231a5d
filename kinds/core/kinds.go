package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds returns the rows of the core group, in the order of their names.
func Kinds() []*kinds.Kind {
	const both = rules.MetaUpdate | rules.MetaFull
	rows := []*kinds.Kind{
		binding(),
		componentStatus(),
		rules.WithMeta(configMap(), both),
		rules.WithMeta(endpoints(), both),
		event(),
		rules.WithMeta(limitRange(), rules.MetaFull),
		rules.WithMeta(namespace(), both),
		rules.WithMeta(node(), both),
		rules.WithMeta(persistentVolumeClaim(), both),
		rules.WithMeta(persistentVolume(), rules.MetaFullTwice),
		rules.WithMeta(pod(), both),
		rules.WithMeta(podTemplate(), rules.MetaUpdate),
		rules.WithMeta(replicationController(), rules.MetaUpdate),
		rules.WithMeta(resourceQuota(), rules.MetaUpdate),
		rules.WithMeta(secret(), both),
		rules.WithMeta(serviceAccount(), both),
		rules.WithMeta(service(), rules.MetaUpdate),
	}
	for _, k := range rows {
		for name, s := range k.Subresources {
			switch {
			case s.ValidateUpdate == nil:
			case name == "ephemeralcontainers" || name == "resize":
				rules.MetaSubresource(k, name, both)
			default:
				rules.MetaSubresource(k, name, rules.MetaUpdate)
			}
		}
	}
	return rows
}

// newKind starts the row of a core kind.
func newKind[T, L any, P interface {
	*T
	kinds.Object
}, PL interface {
	*L
	runtime.Object
}](resource string, namespaced bool, short ...string) *kinds.Kind {
	return row.Fill[T, L, P, PL](v1.SchemeGroupVersion, &kinds.Kind{Resource: resource, Namespaced: namespaced, ShortNames: short})
}

// statusVerbs are the verbs of status and of other subresources that are the
// parent itself.
func statusVerbs() []string { return []string{"get", "patch", "update"} }

func proxyVerbs() []string { return []string{"create", "delete", "get", "patch", "update"} }

func coreGVK(kind string) schema.GroupVersionKind { return v1.SchemeGroupVersion.WithKind(kind) }
