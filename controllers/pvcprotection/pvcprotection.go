// Package pvcprotection keeps a PersistentVolumeClaim that is being deleted for as
// long as a pod on a node uses it. The API server gives new claims the finalizer;
// here it is taken off (pkg/controller/volume/pvcprotection in Kubernetes).
//
// Reads: PersistentVolumeClaims, Pods.
// Writes: the finalizer kubernetes.io/pvc-protection of PersistentVolumeClaims.
package pvcprotection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const finalizer = "kubernetes.io/pvc-protection"

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "pvcprotection", 1, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, protect(ctx, env, r)
	}))
	loop.On(l, &corev1.PersistentVolumeClaim{}, func(_, c *corev1.PersistentVolumeClaim) {
		if c != nil && (c.DeletionTimestamp != nil) == loop.HasFinalizer(c, finalizer) {
			l.Add(loop.Key(c))
		}
	})
	loop.On(l, &corev1.Pod{}, func(old, pod *corev1.Pod) {
		// Only a pod that goes, or lets go of its generated claims, frees a claim.
		if old == nil || pod != nil && stopped(pod) == stopped(old) {
			return
		}
		for i := range old.Spec.Volumes {
			if name := claimOf(old, &old.Spec.Volumes[i]); name != "" {
				l.Add(loop.Request{NamespacedName: types.NamespacedName{Namespace: old.Namespace, Name: name}})
			}
		}
	})
	return l.Start()
}

func protect(ctx context.Context, env *loop.Env, r loop.Request) error {
	claim := &corev1.PersistentVolumeClaim{}
	if err := env.Cache.Get(ctx, r.NamespacedName, claim); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if claim.DeletionTimestamp == nil {
		return loop.SetFinalizer(ctx, env.Client, claim, finalizer, true)
	}
	// The cache may not show a pod that was bound just now: ask the server.
	var pods corev1.PodList
	if err := env.Client.List(ctx, &pods, crclient.InNamespace(r.Namespace)); err != nil {
		return err
	}
	for i := range pods.Items {
		if uses(&pods.Items[i], claim) {
			return nil
		}
	}
	return loop.SetFinalizer(ctx, env.Client, claim, finalizer, false)
}

// uses tells whether a pod that a node knows of names a claim. A pod without a node
// does not count: no node starts it while its claim is being deleted.
func uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if claimOf(pod, v) != claim.Name {
			continue
		}
		if v.Ephemeral == nil || !stopped(pod) && metav1.IsControlledBy(claim, pod) {
			return true
		}
	}
	return false
}

// claimOf names the claim behind a volume, "" if there is none.
func claimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// stopped tells whether the node has done all it has to for a pod that is being
// deleted.
func stopped(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
}
