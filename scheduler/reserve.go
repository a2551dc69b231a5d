package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// bindTimeout is how long a pod that has a node waits for its volumes to be bound, as
// kube-scheduler's bindTimeoutSeconds.
const bindTimeout = 10 * time.Minute

var errVolumesTimeout = errors.New("binding volumes: context deadline exceeded")

// reserved is a pod that has a node, and waits for the volumes that were chosen there.
type reserved struct {
	w     *waiting
	pod   *v1.Pod
	node  string
	limit *time.Timer
}

// followStorage keeps the snapshot's claims, volumes and classes.
func (s *Scheduler) followStorage(ctx context.Context) ([]toolscache.DoneChecker, error) {
	claims, err := s.follow(ctx, &v1.PersistentVolumeClaim{}, handler(s.onClaim))
	if err != nil {
		return nil, err
	}
	volumes, err := s.follow(ctx, &v1.PersistentVolume{}, handler(s.onVolume))
	if err != nil {
		return nil, err
	}
	classes, err := s.follow(ctx, &storagev1.StorageClass{}, handler(s.onClass))
	return []toolscache.DoneChecker{claims, volumes, classes}, err
}

func handler[T crclient.Object](f func(obj T, gone bool)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { f(obj.(T), false) },
		UpdateFunc: func(_, obj any) { f(obj.(T), false) },
		DeleteFunc: func(obj any) {
			if o, ok := last(obj).(T); ok {
				f(o, true)
			}
		},
	}
}

func (s *Scheduler) onClaim(c *v1.PersistentVolumeClaim, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	if gone {
		delete(s.snapshot.storage.claims, key)
	} else {
		s.snapshot.storage.claims[key] = c
	}
	uses := func(p *v1.Pod) bool { return p.Namespace == c.Namespace && claims(p, c.Name) }
	for _, r := range s.reserved {
		if uses(r.pod) {
			s.settle(r)
		}
	}
	s.offerClaiming(func(w *waiting) bool { return uses(w.pod) })
}

func (s *Scheduler) onVolume(pv *v1.PersistentVolume, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone {
		delete(s.snapshot.storage.volumes, pv.Name)
		delete(s.snapshot.storage.promised, pv.Name)
		return
	}
	s.snapshot.storage.setVolume(pv)
	s.offerClaiming(nil)
}

func (s *Scheduler) onClass(c *storagev1.StorageClass, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone {
		delete(s.snapshot.storage.classes, c.Name)
		return
	}
	s.snapshot.storage.classes[c.Name] = c
	s.offerClaiming(nil)
}

// offerClaiming gives pods that wait for volumes another chance, if what they lack is
// not plainly the same still.
func (s *Scheduler) offerClaiming(match func(*waiting) bool) {
	if s.queue.claiming == 0 {
		return
	}
	now := time.Now()
	for key := range s.queue.parked {
		s.queue.unparkSome(key, now, func(w *waiting) bool {
			if !w.claiming || match != nil && !match(w) {
				return false
			}
			n := s.snapshot.needsOf(w.pod)
			return n == nil || n.refused != w.refused || n.refused == ""
		})
	}
	s.wake()
}

// reserve is the first half of binding a pod whose volumes are not bound: they are
// promised to its claims, and what makes volumes is told the node. The controller
// persistentvolumebinder, or the provisioner, does the rest.
func (s *Scheduler) reserve(w *waiting, pod *v1.Pod, node string, c *choice) {
	r := &reserved{w: w, pod: pod, node: node}
	var promised []string
	var writes []func() error
	for claim, pv := range c.reserve {
		bound, dirty, err := storagehelpers.GetBindVolumeToClaim(pv, claim)
		if err != nil {
			writes = append(writes, func() error { return err })
			continue
		}
		if !dirty {
			continue
		}
		s.snapshot.storage.promised[pv.Name] = bound
		promised = append(promised, pv.Name)
		own := bound.DeepCopy()
		writes = append(writes, func() error { return s.Client.Update(s.ctx, own) })
	}
	for _, claim := range c.provision {
		if claim.Annotations[storagehelpers.AnnSelectedNode] == node {
			continue
		}
		own := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&own.ObjectMeta, storagehelpers.AnnSelectedNode, node)
		writes = append(writes, func() error { return s.Client.Update(s.ctx, own) })
	}
	s.reserved[pod.UID] = r
	r.limit = time.AfterFunc(bindTimeout, func() { s.giveUp(r, errVolumesTimeout) })
	s.apart(func() {
		for _, write := range writes {
			if err := write(); err != nil {
				s.mu.Lock()
				for _, name := range promised {
					delete(s.snapshot.storage.promised, name)
				}
				s.mu.Unlock()
				s.giveUp(r, fmt.Errorf("binding volumes: %w", err))
				return
			}
		}
	})
	s.settle(r) // all may have been bound meanwhile
}

// settle binds a reserved pod if its claims are bound, and takes it from its node if
// they cannot be there any more. With s.mu held.
func (s *Scheduler) settle(r *reserved) {
	n := s.snapshot.needsOf(r.pod)
	if n != nil && (n.refused == reasonUnbound || n.refused == "" && len(n.open) > 0) {
		return
	}
	if !s.drop(r) {
		return
	}
	if n != nil {
		why := n.refused
		if i, ok := s.snapshot.byName[r.node]; ok && why == "" {
			if v, _ := n.judge(&s.snapshot.storage, s.snapshot.nodes[i].obj); !v.ok() {
				why = fmt.Sprintf("node %q: %s", r.node, v.reasons[0])
			}
		}
		if why != "" {
			s.work.Go(func() { s.retreat(r.w, r.pod, fmt.Errorf("binding volumes: %s", why)) })
			return
		}
	}
	s.apart(func() { s.bind(r.w, r.pod, r.node) })
}

// drop ends a reservation; it is false if it had ended already. With s.mu held.
func (s *Scheduler) drop(r *reserved) bool {
	if s.reserved[r.pod.UID] != r {
		return false
	}
	delete(s.reserved, r.pod.UID)
	r.limit.Stop()
	return true
}

func (s *Scheduler) giveUp(r *reserved, why error) {
	s.mu.Lock()
	mine := s.drop(r)
	s.mu.Unlock()
	if mine {
		s.retreat(r.w, r.pod, why)
	}
}
