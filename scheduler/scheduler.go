// Package scheduler places pods on nodes: pure functions from a snapshot of the
// cluster and a pod to a node, and a thin loop that feeds them and binds.
//
// Pods that want the same (class) share verdicts and scores of nodes, which a
// change of one node changes for that node alone: placing a pod looks at one node,
// not at all. What it decides by is what kube-scheduler's default profile does for
// resources, names, selectors, affinity to nodes, taints, host ports and scheduling
// gates, affinity between pods and spread over topologies. A pod that has to do with
// other pods in that way costs a look at all pods; no other does. A pod whose claims are
// bound goes where the volumes are; claims that wait for their first consumer get their
// volumes, or their provisioner the node, when the pod has been given its own, and the
// pod is bound when they are. It does not evict pods for others yet, nor spread pods
// that do not ask for it.
//
// Reads: Pods, Nodes, Namespaces (their labels), PersistentVolumeClaims,
// PersistentVolumes, StorageClasses.
// Writes: the binding of Pods; their condition PodScheduled while no node takes them;
// spec.claimRef of PersistentVolumes; the annotation selected-node of
// PersistentVolumeClaims.
package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder records events with the action taken (see client.Recorder).
type Recorder interface {
	Actionf(obj runtime.Object, typ, reason, action, format string, args ...any)
}

// Scheduler places pods that ask for the scheduler of its name.
type Scheduler struct {
	Client   crclient.Client
	Cache    cache.Cache
	Recorder Recorder
	Log      *slog.Logger
	Name     string // v1.DefaultSchedulerName if empty

	mu       sync.Mutex
	snapshot *snapshot
	queue    *queue
	reserved map[types.UID]*reserved
	classes  map[string]*class
	asked    int
	ctx      context.Context
	synced   bool
	running  bool // a goroutine places pods
	timer    *time.Timer
	work     sync.WaitGroup
	binders  chan struct{}
}

const (
	// binding is how many bindings are under way at once: enough for the store to
	// write many with one sync to disk.
	binding = 128
	// entriesKept bounds the memory of classes: nodes times classes.
	entriesKept = 1 << 18
	classesKept = 64
	noteLimit   = 1024 // of an event's message
)

// Run places pods until ctx ends. The cache has to be started by the caller.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.Name == "" {
		s.Name = v1.DefaultSchedulerName
	}
	s.mu.Lock()
	s.ctx, s.snapshot, s.queue, s.reserved = ctx, newSnapshot(), newQueue(), map[types.UID]*reserved{}
	s.classes, s.binders = map[string]*class{}, make(chan struct{}, binding)
	s.mu.Unlock()
	storage, err := s.followStorage(ctx)
	if err != nil {
		return err
	}
	nodes, err := s.follow(ctx, &v1.Node{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.onNode(obj.(*v1.Node)) },
		UpdateFunc: func(old, obj any) { s.onNodeUpdate(old.(*v1.Node), obj.(*v1.Node)) },
		DeleteFunc: func(obj any) {
			if n, ok := last(obj).(*v1.Node); ok {
				s.onNodeGone(n)
			}
		},
	})
	if err != nil {
		return err
	}
	pods, err := s.follow(ctx, &v1.Pod{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.onPod(obj.(*v1.Pod)) },
		UpdateFunc: func(_, obj any) { s.onPod(obj.(*v1.Pod)) },
		DeleteFunc: func(obj any) {
			if p, ok := last(obj).(*v1.Pod); ok {
				s.onPodGone(p)
			}
		},
	})
	if err != nil {
		return err
	}
	namespaces, err := s.follow(ctx, &v1.Namespace{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.onNamespace(obj.(*v1.Namespace), false) },
		UpdateFunc: func(_, obj any) { s.onNamespace(obj.(*v1.Namespace), false) },
		DeleteFunc: func(obj any) {
			if n, ok := last(obj).(*v1.Namespace); ok {
				s.onNamespace(n, true)
			}
		},
	})
	if err != nil {
		return err
	}
	// Placing begins when everything that runs already is counted.
	for _, c := range append(storage, namespaces, nodes, pods) {
		select {
		case <-c.Done():
		case <-ctx.Done():
			return nil
		}
	}
	s.mu.Lock()
	s.synced = true
	s.wake()
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, r := range s.reserved {
		r.limit.Stop()
	}
	s.mu.Unlock()
	s.work.Wait()
	return nil
}

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

// wake makes sure that a goroutine places what can be placed. With s.mu held.
func (s *Scheduler) wake() {
	if s.running || !s.synced || s.ctx.Err() != nil {
		return
	}
	if len(s.queue.ready) == 0 {
		if at, ok := s.queue.wake(); ok {
			s.alarm(at)
		}
		return
	}
	s.running = true
	s.work.Go(s.placeAll)
}

func (s *Scheduler) alarm(at time.Time) {
	wait := max(0, time.Until(at))
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.ring)
		return
	}
	s.timer.Reset(wait)
}

func (s *Scheduler) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.queue.backoff) > 0 && !s.queue.backoff[0].next.After(now) {
		w := s.queue.backoff[0]
		s.queue.out(w)
		s.queue.again(w, now)
	}
	s.wake()
}

// placeAll places pods until none is ready, then ends.
func (s *Scheduler) placeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil {
		w := s.queue.pop(time.Now())
		if w == nil {
			break
		}
		s.placeOne(w)
	}
	s.running = false
	s.wake()
}

// placeOne decides with s.mu held; what it starts goes on without.
func (s *Scheduler) placeOne(w *waiting) {
	c := s.class(w.key, w.pod)
	w.attempts++
	i, volumes, why := s.decide(c, w)
	if i < 0 {
		w.next = time.Now().Add(backoffOf(w.attempts))
		s.queue.park(w)
		pod := w.pod
		s.apart(func() { s.report(pod, v1.PodReasonUnschedulable, why) })
		return
	}
	w.binding = true
	name, pod := s.snapshot.nodes[i].obj.Name, w.pod
	s.snapshot.place(pod, name, c.wish.demand, true)
	s.offerRelated()
	if !volumes.none() {
		s.reserve(w, pod, name, volumes)
		return
	}
	s.apart(func() { s.bind(w, pod, name) })
}

// decide finds the node for a pod and the volumes that it gets there, or says why there
// is none.
func (s *Scheduler) decide(c *class, w *waiting) (i int, volumes *choice, why string) {
	n := s.snapshot.needsOf(w.pod)
	w.claiming, w.refused, w.shared = n != nil, "", n != nil && n.shared
	r := relationsOf(w.pod)
	w.related = r != nil || s.snapshot.repelled(w.pod)
	if n != nil && n.refused != "" {
		w.refused = n.refused
		return -1, nil, refuse(w.pod, s.snapshot.count, n.refused)
	}
	if !w.related && n == nil {
		if i = c.best(s.snapshot); i < 0 {
			why = c.explain(s.snapshot)
		}
		return i, nil, why
	}
	var a *among
	if w.related {
		a = lookAround(s.snapshot, c.wish, w.pod, r)
	} else {
		a = &among{s: s.snapshot, p: w.pod, w: c.wish, r: &relations{}}
	}
	a.needs = n
	i, verdicts := a.place(c)
	if i < 0 {
		return i, nil, explain(w.pod, verdicts)
	}
	if n != nil {
		_, volumes = n.judge(&s.snapshot.storage, s.snapshot.nodes[i].obj)
	}
	return i, volumes, ""
}

// apart runs an effect on its own goroutine; when too many are under way it waits,
// without the lock, for one to end.
func (s *Scheduler) apart(effect func()) {
	select {
	case s.binders <- struct{}{}:
	default:
		s.mu.Unlock()
		s.binders <- struct{}{}
		s.mu.Lock()
	}
	s.work.Go(func() {
		defer func() { <-s.binders }()
		effect()
	})
}

func (s *Scheduler) bind(w *waiting, pod *v1.Pod, name string) {
	err := s.Client.SubResource("binding").Create(s.ctx, pod, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: name},
	})
	if err == nil {
		s.Recorder.Actionf(pod, v1.EventTypeNormal, "Scheduled", "Binding", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, name)
		return
	}
	s.retreat(w, pod, fmt.Errorf("binding rejected: %w", err))
}

// retreat takes a pod that could not be bound from its node and queues it again.
func (s *Scheduler) retreat(w *waiting, pod *v1.Pod, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.snapshot.pods[pod.UID]; !ok || !p.assumed {
		return // bound or gone after all, as the events say
	}
	s.offer(s.snapshot.remove(pod.UID))
	w.binding = false
	if apierrors.IsNotFound(err) || s.ctx.Err() != nil || s.queue.pods[pod.UID] != w {
		s.queue.remove(pod.UID)
		return
	}
	w.next = time.Now().Add(max(backoffOf(w.attempts), leastBackoff))
	s.queue.again(w, time.Now())
	s.wake()
	s.work.Go(func() { s.report(pod, v1.PodReasonSchedulerError, err.Error()) })
}

// report says in events and in the pod's conditions why it has no node.
func (s *Scheduler) report(pod *v1.Pod, reason, why string) {
	note := why
	if len(note) > noteLimit {
		const dots = " ..."
		note = note[:noteLimit-len(dots)] + dots
	}
	s.Recorder.Actionf(pod, v1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", note)
	data, changed, err := conditionPatch(pod, reason, why, metav1.Now())
	if err == nil && changed {
		err = s.Client.Status().Patch(s.ctx, pod.DeepCopy(), crclient.RawPatch(types.StrategicMergePatchType, data))
	}
	if crclient.IgnoreNotFound(err) != nil && s.ctx.Err() == nil {
		s.Log.Warn("condition of a pending pod not written", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

// conditionPatch is the change of the condition PodScheduled; changed is false if
// the pod says the same already.
func conditionPatch(pod *v1.Pod, reason, why string, now metav1.Time) (data []byte, changed bool, err error) {
	next := v1.PodCondition{
		Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: reason, Message: why,
		ObservedGeneration: pod.Generation, LastTransitionTime: now,
	}
	for _, have := range pod.Status.Conditions {
		if have.Type != v1.PodScheduled {
			continue
		}
		if have.Status == next.Status {
			next.LastTransitionTime = have.LastTransitionTime
		}
		if have.Status == next.Status && have.Reason == next.Reason && have.Message == next.Message {
			return nil, false, nil
		}
	}
	data, err = json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []v1.PodCondition{next}},
	})
	return data, true, err
}
