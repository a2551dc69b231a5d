// Package clienttest is what tests of client's users stand on: a Backend in
// memory that behaves as an API server does where controllers can tell, and the
// suite that every pair of client and cache passes.
package clienttest

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"skiff.dev/skiff/kinds"
)

// Scheme has the Go types of every kind of Table.
func Scheme() *runtime.Scheme { return clientgoscheme.Scheme }

// Table holds the kinds that controllers work with, without defaults or
// validation.
func Table() *kinds.Table {
	pods := row[corev1.Pod, corev1.PodList]("", "v1", "Pod", "pods", true, "status")
	pods.Grace = podGrace
	pods.Fields = map[string]func(kinds.Object) string{
		"spec.nodeName": func(o kinds.Object) string { return o.(*corev1.Pod).Spec.NodeName },
	}
	namespaces := row[corev1.Namespace, corev1.NamespaceList]("", "v1", "Namespace", "namespaces", false, "status", "finalize")
	return kinds.NewTable([]*kinds.Kind{
		namespaces, pods,
		row[corev1.Node, corev1.NodeList]("", "v1", "Node", "nodes", false, "status"),
		row[corev1.Service, corev1.ServiceList]("", "v1", "Service", "services", true, "status"),
		row[corev1.Endpoints, corev1.EndpointsList]("", "v1", "Endpoints", "endpoints", true),
		row[corev1.ConfigMap, corev1.ConfigMapList]("", "v1", "ConfigMap", "configmaps", true),
		row[corev1.Secret, corev1.SecretList]("", "v1", "Secret", "secrets", true),
		row[corev1.PersistentVolume, corev1.PersistentVolumeList]("", "v1", "PersistentVolume", "persistentvolumes", false, "status"),
		row[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList]("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, "status"),
		row[corev1.ServiceAccount, corev1.ServiceAccountList]("", "v1", "ServiceAccount", "serviceaccounts", true),
		row[corev1.Event, corev1.EventList]("", "v1", "Event", "events", true),
		row[appsv1.ReplicaSet, appsv1.ReplicaSetList]("apps", "v1", "ReplicaSet", "replicasets", true, "status", "scale"),
		row[appsv1.Deployment, appsv1.DeploymentList]("apps", "v1", "Deployment", "deployments", true, "status", "scale"),
		row[coordinationv1.Lease, coordinationv1.LeaseList]("coordination.k8s.io", "v1", "Lease", "leases", true),
		row[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList]("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
		row[storagev1.StorageClass, storagev1.StorageClassList]("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
		row[rbacv1.ClusterRole, rbacv1.ClusterRoleList]("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
	})
}

func row[T, L any](group, version, kind, resource string, namespaced bool, subs ...string) *kinds.Kind {
	k := &kinds.Kind{
		Group: group, Version: version, Kind: kind, List: kind + "List", Resource: resource,
		Namespaced: namespaced, Served: []kinds.Version{{Group: group, Version: version}},
		New:     func() kinds.Object { return any(new(T)).(kinds.Object) },
		NewList: func() runtime.Object { return any(new(L)).(runtime.Object) },
	}
	for _, s := range subs {
		if k.Subresources == nil {
			k.Subresources = map[string]kinds.Subresource{}
		}
		k.Subresources[s] = kinds.Subresource{Verbs: []string{"get", "patch", "update"}}
	}
	return k
}

// podGrace is how long a deleted pod stays: a node has to stop what it runs.
func podGrace(obj kinds.Object, asked *int64) int64 {
	pod := obj.(*corev1.Pod)
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	switch {
	case asked != nil:
		grace = *asked
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return 0
	}
	return grace
}

// gvk is a short way to name a kind.
func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}
