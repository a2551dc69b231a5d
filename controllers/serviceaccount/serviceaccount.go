// Package serviceaccount keeps a ServiceAccount named default in every namespace.
//
// Reads: Namespaces, ServiceAccounts.
// Writes: the ServiceAccount default of each namespace.
package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

const name = "default"

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "serviceaccount", 2, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, ensure(ctx, env, r.Name)
	}))
	loop.On(l, &corev1.Namespace{}, loop.Enqueue[*corev1.Namespace](l))
	loop.On(l, &corev1.ServiceAccount{}, func(old, sa *corev1.ServiceAccount) {
		if sa == nil && old.Name == name {
			l.Add(loop.Request{NamespacedName: types.NamespacedName{Name: old.Namespace}})
		}
	})
	return l.Start()
}

func ensure(ctx context.Context, env *loop.Env, namespace string) error {
	var ns corev1.Namespace
	if err := env.Cache.Get(ctx, types.NamespacedName{Name: namespace}, &ns, crclient.UnsafeDisableDeepCopy); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp != nil {
		return nil
	}
	var have corev1.ServiceAccount
	err := env.Cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &have, crclient.UnsafeDisableDeepCopy)
	if !apierrors.IsNotFound(err) {
		return err
	}
	err = env.Client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
