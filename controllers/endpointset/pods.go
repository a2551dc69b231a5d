package endpointset

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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

// Selectors remembers what every service selects, so that a pod's change finds its
// services without a list of them.
type Selectors struct {
	mu sync.Mutex
	of map[string]map[string]labels.Selector // by namespace and name
}

// OnService notes a service's change and wakes the service.
func (s *Selectors) OnService(l *loop.Loop[loop.Request]) func(old, svc *corev1.Service) {
	wake := loop.Enqueue[*corev1.Service](l)
	return func(old, svc *corev1.Service) {
		s.update(old, svc)
		wake(old, svc)
	}
}

func (s *Selectors) update(old, svc *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		delete(s.of[old.Namespace], old.Name)
		if len(s.of[old.Namespace]) == 0 {
			delete(s.of, old.Namespace)
		}
	}
	if svc == nil || len(svc.Spec.Selector) == 0 {
		return
	}
	if s.of == nil {
		s.of = map[string]map[string]labels.Selector{}
	}
	if s.of[svc.Namespace] == nil {
		s.of[svc.Namespace] = map[string]labels.Selector{}
	}
	s.of[svc.Namespace][svc.Name] = labels.SelectorFromSet(svc.Spec.Selector)
}

// OnPod wakes the services that select a pod, before or after its change. A service
// not heard of yet is woken by its own event.
func (s *Selectors) OnPod(l *loop.Loop[loop.Request]) func(old, pod *corev1.Pod) {
	return func(old, pod *corev1.Pod) {
		if !Changed(old, pod) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range []*corev1.Pod{old, pod} {
			if p == nil {
				continue
			}
			for name, sel := range s.of[p.Namespace] {
				if sel.Matches(labels.Set(p.Labels)) {
					l.Add(loop.Request{NamespacedName: types.NamespacedName{Namespace: p.Namespace, Name: name}})
				}
			}
		}
	}
}
