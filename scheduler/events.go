package scheduler

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

func (s *Scheduler) follow(ctx context.Context, sample crclient.Object, h toolscache.ResourceEventHandler) (toolscache.DoneChecker, error) {
	inf, err := s.Cache.GetInformer(ctx, sample, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("scheduler: follow %T: %w", sample, err)
	}
	reg, err := inf.AddEventHandler(h)
	if err != nil {
		return nil, fmt.Errorf("scheduler: follow %T: %w", sample, err)
	}
	return reg.HasSyncedChecker(), nil
}

func last(obj any) any {
	if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		return d.Obj
	}
	return obj
}

func (s *Scheduler) onNode(n *v1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer(s.snapshot.setNode(n))
}

// onNodeUpdate ignores heartbeats: only what pods are judged by counts.
func (s *Scheduler) onNodeUpdate(old, n *v1.Node) {
	if sameForPods(old, n) {
		return
	}
	s.onNode(n)
}

func (s *Scheduler) onNodeGone(n *v1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot.removeNode(n.Name)
}

// onPod counts a pod that has a node, and queues one that has none.
func (s *Scheduler) onPod(p *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed:
		s.queue.remove(p.UID)
		s.offer(s.snapshot.remove(p.UID))
		s.offerRelated()
		s.offerClaiming(func(w *waiting) bool { return w.shared && w.pod.Namespace == p.Namespace })
	case p.Spec.NodeName != "":
		s.queue.remove(p.UID)
		if have, ok := s.snapshot.pods[p.UID]; ok && have.node == p.Spec.NodeName {
			s.snapshot.place(p, p.Spec.NodeName, have.demand, false)
			if have.pod.DeletionTimestamp == nil && p.DeletionTimestamp != nil || !labels.Equals(have.pod.Labels, p.Labels) {
				s.offerRelated()
			}
			return
		}
		d := demandOf(p)
		s.snapshot.place(p, p.Spec.NodeName, &d, false)
		s.offerRelated()
	case p.Spec.SchedulerName != s.Name && p.Spec.SchedulerName != "":
	case p.DeletionTimestamp != nil || len(p.Spec.SchedulingGates) > 0:
		s.queue.remove(p.UID)
	default:
		if have, ok := s.snapshot.pods[p.UID]; ok && have.assumed {
			return
		}
		s.queue.add(p, time.Now())
		s.wake()
	}
}

func (s *Scheduler) onPodGone(p *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.remove(p.UID)
	if r := s.reserved[p.UID]; r != nil {
		s.drop(r)
	}
	s.offer(s.snapshot.remove(p.UID))
	s.offerRelated()
	s.offerClaiming(func(w *waiting) bool { return w.shared && w.pod.Namespace == p.Namespace })
}

func (s *Scheduler) onNamespace(n *v1.Namespace, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case gone:
		delete(s.snapshot.namespaces, n.Name)
	case !labels.Equals(s.snapshot.namespaces[n.Name], n.Labels):
		s.snapshot.namespaces[n.Name] = n.Labels
		s.offerRelated()
	}
}

// offerRelated gives pods that wait for other pods to come, go or change another
// chance.
func (s *Scheduler) offerRelated() {
	if s.queue.related == 0 {
		return
	}
	now := time.Now()
	for key, parked := range s.queue.parked {
		for _, w := range parked {
			if w.related {
				s.queue.unpark(key, now)
				break
			}
		}
	}
	s.wake()
}

// offer gives parked pods that a changed node takes another chance. One look a
// class is enough.
func (s *Scheduler) offer(i int) {
	if i < 0 || s.snapshot.nodes[i] == nil {
		return
	}
	now := time.Now()
	for key := range s.queue.parked {
		if s.class(key, nil).verdictOf(s.snapshot, i).ok() {
			s.queue.unparkSome(key, now, func(w *waiting) bool { return !w.claiming || s.suits(w, i) })
		}
	}
	s.wake()
}

// suits tells whether the claims of a pod have nothing against a node.
func (s *Scheduler) suits(w *waiting, i int) bool {
	n := s.snapshot.needsOf(w.pod)
	if n == nil {
		return true
	}
	if n.refused != "" {
		return false
	}
	v, _ := n.judge(&s.snapshot.storage, s.snapshot.nodes[i].obj)
	return v.ok()
}

// class finds the class of a key, and makes it of a pod of the class if it was
// forgotten.
func (s *Scheduler) class(key string, p *v1.Pod) *class {
	s.asked++
	c := s.classes[key]
	if c == nil {
		if p == nil {
			for _, w := range s.queue.parked[key] {
				p = w.pod
				break
			}
		}
		s.forget()
		c = &class{wish: newWish(p)}
		s.classes[key] = c
	}
	c.used = s.asked
	return c
}

// forget drops the class that was asked last the longest ago when there are many.
func (s *Scheduler) forget() {
	most := max(4, min(classesKept, entriesKept/max(1, len(s.snapshot.nodes))))
	for len(s.classes) >= most {
		oldest, at := "", s.asked+1
		for key, c := range s.classes {
			if c.used < at {
				oldest, at = key, c.used
			}
		}
		delete(s.classes, oldest)
	}
}
