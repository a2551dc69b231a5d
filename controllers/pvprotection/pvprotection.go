// Package pvprotection keeps a PersistentVolume that is being deleted for as long
// as a claim is bound to it. The API server gives new volumes the finalizer; here
// it is taken off (pkg/controller/volume/pvprotection in Kubernetes).
//
// Reads: PersistentVolumes.
// Writes: the finalizer kubernetes.io/pv-protection of PersistentVolumes.
package pvprotection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const finalizer = "kubernetes.io/pv-protection"

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "pvprotection", 1, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		pv := &corev1.PersistentVolume{}
		if err := env.Cache.Get(ctx, r.NamespacedName, pv); err != nil {
			return reconcile.Result{}, crclient.IgnoreNotFound(err)
		}
		return reconcile.Result{}, loop.SetFinalizer(ctx, env.Client, pv, finalizer, wanted(pv))
	}))
	loop.On(l, &corev1.PersistentVolume{}, func(_, pv *corev1.PersistentVolume) {
		if pv != nil && loop.HasFinalizer(pv, finalizer) != wanted(pv) {
			l.Add(loop.Key(pv))
		}
	})
	return l.Start()
}

// wanted tells whether a volume is to carry the finalizer.
func wanted(pv *corev1.PersistentVolume) bool {
	return pv.DeletionTimestamp == nil || pv.Status.Phase == corev1.VolumeBound
}
