// Package rootca publishes the certificate by which pods know the API server, as a
// ConfigMap in every namespace.
//
// Reads: Namespaces, ConfigMaps.
// Writes: the ConfigMap kube-root-ca.crt of each namespace.
package rootca

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

const (
	name           = "kube-root-ca.crt"
	key            = "ca.crt"
	descriptionKey = "kubernetes.io/description"
	description    = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Start runs the controller until ctx ends; without a certificate it does nothing.
func Start(ctx context.Context, env *loop.Env) error {
	if len(env.Config.RootCA) == 0 {
		return nil
	}
	l := loop.New(ctx, env, "rootca", 2, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, publish(ctx, env, r.Name)
	}))
	loop.On(l, &corev1.Namespace{}, loop.Enqueue[*corev1.Namespace](l))
	loop.On(l, &corev1.ConfigMap{}, func(old, cm *corev1.ConfigMap) {
		if cm == nil {
			cm = old
		}
		if cm.Name == name {
			l.Add(loop.Request{NamespacedName: types.NamespacedName{Name: cm.Namespace}})
		}
	})
	return l.Start()
}

func publish(ctx context.Context, env *loop.Env, namespace string) error {
	var ns corev1.Namespace
	if err := env.Cache.Get(ctx, types.NamespacedName{Name: namespace}, &ns, crclient.UnsafeDisableDeepCopy); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp != nil {
		return nil
	}
	want := map[string]string{key: string(env.Config.RootCA)}
	have := &corev1.ConfigMap{}
	err := env.Cache.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, have)
	switch {
	case apierrors.IsNotFound(err):
		err = env.Client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{descriptionKey: description}},
			Data:       want,
		})
		if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	case err != nil:
		return err
	}
	if len(have.Data) == 1 && have.Data[key] == want[key] && have.Annotations[descriptionKey] == description {
		return nil
	}
	have.Data = want
	if have.Annotations == nil {
		have.Annotations = map[string]string{}
	}
	have.Annotations[descriptionKey] = description
	return env.Client.Update(ctx, have)
}
