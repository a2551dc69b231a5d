package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/initial"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// systemUser is the server itself.
var systemUser = &auth.User{Name: "system:apiserver", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}

// systemAgent is the field manager of what the server itself writes, as in
// Kubernetes.
const systemAgent = "kube-apiserver"

// bootstrap makes the objects that every cluster has. What exists is left alone.
func (s *Server) bootstrap(ctx context.Context, first netip.Addr) error {
	var objs []kinds.Object
	for _, ns := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, metav1.NamespaceDefault} {
		objs = append(objs, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	for name, value := range map[string]int32{"system-cluster-critical": 2000000000, "system-node-critical": 2000001000} {
		objs = append(objs, &schedulingv1.PriorityClass{
			ObjectMeta:  metav1.ObjectMeta{Name: name},
			Value:       value,
			Description: criticalText[name],
		})
	}
	if s.opt.Advertise.Port() != 0 {
		objs = append(objs, kubernetesService(first, int32(s.opt.Advertise.Port())), initial.Address(first, metav1.NamespaceDefault, kubernetesName))
	}
	for _, obj := range objs {
		if err := s.ensure(ctx, obj); err != nil {
			return fmt.Errorf("apiserver: create %s: %w", obj.GetName(), err)
		}
	}
	// None of these needs another: written at once, they share the store's commits.
	group, shared := errgroup.WithContext(ctx)
	for _, obj := range initial.Objects(s.table, s.opt.ServiceCIDR) {
		group.Go(func() error {
			if err := s.ensure(shared, obj); err != nil {
				return fmt.Errorf("apiserver: create %s: %w", obj.GetName(), err)
			}
			return nil
		})
	}
	if s.gate != nil {
		group.Go(func() error { s.keepFlow(shared); return nil })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !s.opt.Advertise.IsValid() {
		return nil
	}
	return s.Advertise(ctx, s.opt.Advertise)
}

var criticalText = map[string]string{
	"system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
	"system-node-critical":    "Used for system critical pods that must not be moved from their current node.",
}

// ensure creates obj unless there is one, or its kind is not in the table.
func (s *Server) ensure(ctx context.Context, obj kinds.Object) error {
	gvks, _, err := s.opt.Scheme.ObjectKinds(obj)
	if runtime.IsNotRegisteredError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	k, ok := s.table.ByGVK(gvks[0])
	if !ok || s.cache.Of(k).Get(obj.GetNamespace(), obj.GetName()) != nil {
		return nil
	}
	if k.Default != nil {
		k.Default(obj)
	}
	r := &objects.Request{Kind: k, Namespace: obj.GetNamespace(), User: systemUser, Agent: systemAgent}
	_, err = s.engine.Create(ctx, r, obj, nil)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// replace stores obj whether it exists or not.
func (s *Server) replace(ctx context.Context, obj kinds.Object) error {
	gvks, _, err := s.opt.Scheme.ObjectKinds(obj)
	if err != nil {
		return err
	}
	k, ok := s.table.ByGVK(gvks[0])
	if !ok {
		return nil
	}
	if s.cache.Of(k).Get(obj.GetNamespace(), obj.GetName()) == nil {
		return s.ensure(ctx, obj)
	}
	if k.Default != nil {
		k.Default(obj)
	}
	r := &objects.Request{Kind: k, Namespace: obj.GetNamespace(), Name: obj.GetName(), User: systemUser, Agent: systemAgent}
	_, _, err = s.engine.Update(ctx, r, obj, nil)
	return err
}

// Times of maintenance.
const (
	compactEvery = 5 * time.Minute
	trimPause    = 5 * time.Second // between two that were asked for
	eventTTL     = time.Hour
)

// maintain compacts the store and lets events expire. A server in which nothing
// happens writes nothing.
func (s *Server) maintain(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	compacted := s.opt.Store.Revision()
	last := compacted
	var clock jumps
	begun := time.Now()
	pressed := s.cache.Pressed()
	var rested <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-pressed:
			s.cache.Trim()
			pressed, rested = nil, time.After(trimPause)
			continue
		case <-rested:
			pressed, rested = s.cache.Pressed(), nil
			continue
		case <-tick.C:
		}
		settled := clock.settled(s.opt.Now(), time.Since(begun), eventTTL)
		s.cache.Trim()
		s.custom.Trim()
		// Of servers that share a store one does its upkeep.
		if s.opt.Leads == nil || s.opt.Leads() {
			if settled {
				s.expireEvents(ctx)
			}
			if last > compacted {
				if err := s.opt.Store.Compact(ctx, last); err != nil && ctx.Err() == nil {
					s.tel.Log.Error("compact the store", "revision", last, "err", err)
				} else {
					compacted = last
				}
			}
		}
		last = s.opt.Store.Revision()
	}
}

// expireEvents deletes events that nobody has touched for their time to live.
func (s *Server) expireEvents(ctx context.Context) {
	old := s.opt.Now().Add(-eventTTL)
	for _, gr := range []schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}} {
		k, ok := s.table.ByResource(gr)
		if !ok || s.cache.Of(k) == nil {
			continue
		}
		s.cache.Of(k).Snapshot().Ascend("", "", func(e *cache.Entry) bool {
			if touched(e.Object).Before(old) {
				r := &objects.Request{Kind: k, Namespace: e.Object.GetNamespace(), Name: e.Object.GetName(), User: systemUser}
				if _, err := s.engine.Delete(ctx, r, nil); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
					s.tel.Log.Error("delete an old event", "event", e.Key, "err", err)
				}
			}
			return ctx.Err() == nil
		})
		if k.Group == "events.k8s.io" {
			return
		}
	}
}

// touched is when an object was last written, as far as it tells.
func touched(obj kinds.Object) time.Time {
	last := obj.GetCreationTimestamp().Time
	for _, f := range obj.GetManagedFields() {
		if f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}
