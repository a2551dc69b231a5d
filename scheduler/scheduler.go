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
	"log/slog"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
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
