package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// Kinds returns the rows of the core group, in the order of their names.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		binding(),
		componentStatus(),
		configMap(),
		endpoints(),
		event(),
		limitRange(),
		namespace(),
		node(),
		persistentVolumeClaim(),
		persistentVolume(),
		pod(),
		podTemplate(),
		replicationController(),
		resourceQuota(),
		secret(),
		serviceAccount(),
		service(),
	}
}

// row starts the row of a core kind: everything that all of them share.
func row(kind, resource, singular string, namespaced bool, newObj func() kinds.Object, newList func() runtime.Object, short ...string) *kinds.Kind {
	return &kinds.Kind{
		Version:    "v1",
		Kind:       kind,
		List:       kind + "List",
		Resource:   resource,
		Singular:   singular,
		ShortNames: short,
		Namespaced: namespaced,
		Served:     []kinds.Version{{Version: "v1"}},
		New:        newObj,
		NewList:    newList,
	}
}

// statusVerbs are the verbs of status and of other subresources that are the
// parent itself.
func statusVerbs() []string { return []string{"get", "patch", "update"} }

func proxyVerbs() []string { return []string{"create", "delete", "get", "patch", "update"} }

func coreGVK(kind string) schema.GroupVersionKind { return v1.SchemeGroupVersion.WithKind(kind) }
