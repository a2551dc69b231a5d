// Package garbagecollector deletes what has lost its owners, and carries out
// foreground deletion and orphaning. It sees metadata alone.
//
// Reads: the metadata of every kind that can be listed, watched and deleted.
// Writes: the finalizers orphan and foregroundDeletion; owner references to owners
// that are gone; deletes dependents.
package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers/loop"
)

// ignored kinds come and go too often and own nothing.
var ignored = map[schema.GroupKind]bool{
	{Group: "", Kind: "Event"}:              true,
	{Group: "events.k8s.io", Kind: "Event"}: true,
}

var customKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// kindsChanged is how long after a change of the custom kinds they are read again:
// a definition is served a moment after it is written.
const kindsChanged = time.Second

type controller struct {
	env    *loop.Env
	ctx    context.Context
	events loop.Recorder
	graph  graph
	loop   *loop.Loop[object]

	mu        sync.Mutex
	followed  map[schema.GroupKind]bool
	namespace map[schema.GroupKind]bool // whether a kind lives in namespaces
}

// rescan is the key that reads the kinds again.
var rescan = object{name: "kinds"}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{
		env: env, ctx: ctx, events: env.Recorder("garbage-collector-controller"),
		graph:    graph{dependents: map[types.UID]map[object]bool{}},
		followed: map[schema.GroupKind]bool{}, namespace: map[schema.GroupKind]bool{},
	}
	c.loop = loop.New(ctx, env, "garbagecollector", 10, reconcile.TypedFunc[object](c.reconcile))
	if err := c.follow(); err != nil {
		return err
	}
	return c.loop.Start()
}

// follow watches every kind that is not watched yet.
func (c *controller) follow() error {
	served, err := c.env.Kinds.Kinds(c.ctx)
	if err != nil && len(served) == 0 {
		return fmt.Errorf("garbagecollector: which kinds there are: %w", err)
	}
	for _, k := range served {
		if err := c.followKind(k); err != nil {
			c.env.Log.Warn("kind is not collected", "kind", k.Kind, "err", err)
		}
	}
	return nil
}

func (c *controller) followKind(k client.Served) error {
	gk := k.GroupKind()
	c.mu.Lock()
	c.namespace[gk] = k.Namespaced
	done := c.followed[gk] || ignored[gk] || !k.Has("delete", "list", "watch")
	c.mu.Unlock()
	if done {
		return nil
	}
	sample := &metav1.PartialObjectMetadata{}
	sample.SetGroupVersionKind(k.GroupVersionKind)
	err := loop.Follow(c.loop, sample, func(old, m *metav1.PartialObjectMetadata) { c.onChange(k.GroupVersionKind, old, m) })
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.followed[gk] = true
	c.mu.Unlock()
	return nil
}

func identify(gvk schema.GroupVersionKind, m *metav1.PartialObjectMetadata) object {
	return object{gvk: gvk, namespace: m.Namespace, name: m.Name, uid: m.UID}
}

func (c *controller) onChange(gvk schema.GroupVersionKind, old, m *metav1.PartialObjectMetadata) {
	if gvk.GroupKind() == customKind.GroupKind() && (old == nil || m == nil || old.Generation != m.Generation) {
		c.loop.AddAfter(rescan, kindsChanged)
	}
	var was, is []metav1.OwnerReference
	if old != nil {
		was = old.OwnerReferences
	}
	if m == nil {
		o := identify(gvk, old)
		c.graph.update(o, was, nil)
		for _, d := range c.graph.of(old.UID, false) {
			c.loop.Add(d)
		}
		c.wakeOwners(o, was)
		return
	}
	is = m.OwnerReferences
	o := identify(gvk, m)
	if len(was)+len(is) > 0 && (old == nil || !sameRefs(was, is)) {
		c.graph.update(o, was, is)
		if len(is) > 0 {
			c.loop.Add(o)
		}
		c.wakeOwners(o, was)
	}
	if m.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil || !slices.Equal(old.Finalizers, m.Finalizers)) &&
		(hasFinalizer(m, metav1.FinalizerOrphanDependents) || hasFinalizer(m, metav1.FinalizerDeleteDependents)) {
		c.loop.Add(o)
	}
}

// wakeOwners looks again at owners that may wait for the end of o.
func (c *controller) wakeOwners(o object, refs []metav1.OwnerReference) {
	for _, r := range refs {
		gv, err := schema.ParseGroupVersion(r.APIVersion)
		if err != nil || r.BlockOwnerDeletion == nil || !*r.BlockOwnerDeletion {
			continue
		}
		gvk := gv.WithKind(r.Kind)
		c.mu.Lock()
		namespaced, known := c.namespace[gvk.GroupKind()]
		c.mu.Unlock()
		owner := object{gvk: gvk, name: r.Name, uid: r.UID}
		if namespaced {
			owner.namespace = o.namespace
		}
		if known {
			c.loop.Add(owner)
		}
	}
}

func sameRefs(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.OwnerReference) bool {
		return x.UID == y.UID && x.Name == y.Name && x.Kind == y.Kind && x.APIVersion == y.APIVersion &&
			(x.BlockOwnerDeletion != nil && *x.BlockOwnerDeletion) == (y.BlockOwnerDeletion != nil && *y.BlockOwnerDeletion)
	})
}

func (c *controller) reconcile(ctx context.Context, o object) (reconcile.Result, error) {
	if o == rescan {
		return reconcile.Result{}, c.follow()
	}
	m, err := c.read(ctx, o)
	if m == nil || err != nil {
		return reconcile.Result{}, err
	}
	owners, unknown, err := c.owners(ctx, o, m)
	if err != nil {
		return reconcile.Result{}, err
	}
	if unknown {
		// An owner of a kind that is not served: maybe not yet. Better keep than lose.
		return reconcile.Result{RequeueAfter: 5 * time.Minute}, nil
	}
	below := c.graph.of(o.uid, false)
	d, policy, refs := decide(m, owners, len(below) > 0)
	switch d {
	case orphan:
		return reconcile.Result{}, c.orphan(ctx, o, m, below)
	case awaitBelow:
		return reconcile.Result{}, c.awaitBelow(ctx, o, m)
	case dropRefs:
		return reconcile.Result{}, c.dropRefs(ctx, o, m, refs)
	case remove:
		if policy == metav1.DeletePropagationForeground {
			if err := c.unblockCircle(ctx, m, below); err != nil {
				return reconcile.Result{}, err
			}
		}
		uid, version := m.UID, m.ResourceVersion
		err := c.env.Client.Delete(ctx, handle(o), crclient.PropagationPolicy(policy), crclient.Preconditions{UID: &uid, ResourceVersion: &version})
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	return reconcile.Result{}, nil
}

func handle(o object) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name}}
	m.SetGroupVersionKind(o.gvk)
	return m
}

// read asks the server; nil if the object is gone or another one has its name.
func (c *controller) read(ctx context.Context, o object) (*metav1.PartialObjectMetadata, error) {
	m := handle(o)
	// Only the struct itself is ours: what it points to is the server's.
	err := c.env.Client.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, m, crclient.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || err == nil && m.UID != o.uid {
		return nil, nil
	}
	return m, err
}

// owners asks the server for each owner of m.
func (c *controller) owners(ctx context.Context, o object, m *metav1.PartialObjectMetadata) (out []owner, unknown bool, err error) {
	if m.DeletionTimestamp != nil {
		return nil, false, nil
	}
	for _, ref := range m.OwnerReferences {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			return nil, true, nil
		}
		gvk := gv.WithKind(ref.Kind)
		h := handle(object{gvk: gvk, name: ref.Name})
		namespaced, err := c.env.Client.IsObjectNamespaced(h)
		if meta.IsNoMatchError(err) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		at := object{gvk: gvk, name: ref.Name, uid: ref.UID}
		if namespaced {
			at.namespace = o.namespace
			if o.namespace == "" {
				c.events.Eventf(m, "Warning", "OwnerRefInvalidNamespace",
					"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q", ref.APIVersion, ref.Kind, o.namespace, ref.Name, ref.UID, o.namespace)
				out = append(out, owner{ref: ref, exists: true})
				continue
			}
		}
		have, err := c.read(ctx, at)
		if err != nil {
			return nil, false, err
		}
		out = append(out, owner{
			ref: ref, exists: have != nil,
			waiting: have != nil && have.DeletionTimestamp != nil && hasFinalizer(have, metav1.FinalizerDeleteDependents),
		})
	}
	return out, false, nil
}

// orphan lets dependents go and then the object end.
func (c *controller) orphan(ctx context.Context, o object, m *metav1.PartialObjectMetadata, below []object) error {
	var errs []error
	for _, d := range below {
		dm, err := c.read(ctx, d)
		if dm != nil && err == nil {
			err = c.dropRefs(ctx, d, dm, []types.UID{o.uid})
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.dropFinalizer(ctx, o, m, metav1.FinalizerOrphanDependents)
}

// awaitBelow deletes the dependents, and lets the object end when none blocks it.
func (c *controller) awaitBelow(ctx context.Context, o object, m *metav1.PartialObjectMetadata) error {
	blocking := c.graph.of(o.uid, true)
	var left []object
	for _, d := range blocking {
		dm, err := c.read(ctx, d)
		if err != nil {
			return err
		}
		if dm != nil {
			left = append(left, d)
		}
	}
	if len(left) == 0 {
		return c.dropFinalizer(ctx, o, m, metav1.FinalizerDeleteDependents)
	}
	for _, d := range c.graph.of(o.uid, false) {
		c.loop.Add(d)
	}
	return nil
}

// unblockCircle keeps objects that own each other from waiting for each other.
func (c *controller) unblockCircle(ctx context.Context, m *metav1.PartialObjectMetadata, below []object) error {
	circle := false
	for _, d := range below {
		dm, err := c.read(ctx, d)
		if err != nil {
			return err
		}
		circle = circle || dm != nil && dm.DeletionTimestamp != nil && hasFinalizer(dm, metav1.FinalizerDeleteDependents)
	}
	if !circle {
		return nil
	}
	refs := slices.Clone(m.OwnerReferences)
	no := false
	for i := range refs {
		refs[i].BlockOwnerDeletion = &no
	}
	return c.patch(ctx, m, map[string]any{"ownerReferences": refs})
}

func (c *controller) dropRefs(ctx context.Context, _ object, m *metav1.PartialObjectMetadata, gone []types.UID) error {
	kept := []metav1.OwnerReference{}
	for _, r := range m.OwnerReferences {
		if !slices.Contains(gone, r.UID) {
			kept = append(kept, r)
		}
	}
	return c.patch(ctx, m, map[string]any{"ownerReferences": kept})
}

func (c *controller) dropFinalizer(ctx context.Context, _ object, m *metav1.PartialObjectMetadata, name string) error {
	kept := []string{}
	for _, f := range m.Finalizers {
		if f != name {
			kept = append(kept, f)
		}
	}
	return c.patch(ctx, m, map[string]any{"finalizers": kept})
}

// patch writes metadata, guarded by the version that was read.
func (c *controller) patch(ctx context.Context, m *metav1.PartialObjectMetadata, change map[string]any) error {
	change["resourceVersion"] = m.ResourceVersion
	change["uid"] = m.UID
	data, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return err
	}
	err = c.env.Client.Patch(ctx, m, crclient.RawPatch(types.MergePatchType, data))
	return crclient.IgnoreNotFound(err)
}
