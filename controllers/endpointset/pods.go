package endpointset

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
)

// PodsBehind lists the pods that a service selects. They are shared.
func PodsBehind(ctx context.Context, env *loop.Env, svc *corev1.Service) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := env.Cache.List(ctx, &list, crclient.InNamespace(svc.Namespace), crclient.MatchingLabels(svc.Spec.Selector), crclient.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the pods of service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	out := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

// OnPod wakes the services that select a pod, before or after its change.
func OnPod(env *loop.Env, l *loop.Loop[loop.Request]) func(old, pod *corev1.Pod) {
	return func(old, pod *corev1.Pod) {
		if !Changed(old, pod) {
			return
		}
		some := pod
		if some == nil {
			some = old
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var all corev1.ServiceList
		if err := env.Cache.List(ctx, &all, crclient.InNamespace(some.Namespace), crclient.UnsafeDisableDeepCopy); err != nil {
			env.Log.Error("services of a pod not found", "pod", some.Name, "err", err)
			return
		}
		sets := []map[string]string{some.Labels}
		if old != nil && pod != nil {
			sets = append(sets, old.Labels)
		}
		for _, r := range Services(all.Items, sets...) {
			l.Add(r)
		}
	}
}
