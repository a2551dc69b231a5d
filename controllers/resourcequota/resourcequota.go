// Package resourcequota counts what each ResourceQuota's namespace uses.
//
// Reads: ResourceQuotas; of what they limit: Pods, Services, PersistentVolumeClaims,
// ResourceClaims, and the metadata of every other kind.
// Writes: the status of ResourceQuotas.
//
// The API server charges a quota in the transaction that stores an object, so use
// never lags behind creations. What is left to this controller is to count when a
// quota is made or changed, and to give back what has been deleted or has ended. It
// reads the quota first and what it limits after, and writes only if the quota was
// not charged meanwhile; so what it writes is never less than what there is.
package resourcequota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	math "k8s.io/apiserver/pkg/quota/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/quota"
)

const (
	// recount is how often everything is counted anew, as Kubernetes does it: what
	// ends by the passing of time (a grace period) makes no event.
	recount = 5 * time.Minute
	// kindsChanged is how long after a change of the custom kinds they are looked up
	// again: a definition is served a moment after it is written.
	kindsChanged = time.Second
)

type controller struct {
	env  *loop.Env
	loop *loop.Loop[loop.Request]

	mu       sync.Mutex
	followed map[schema.GroupResource]bool
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, followed: map[schema.GroupResource]bool{}}
	c.loop = loop.New(ctx, env, "resourcequota", 5, reconcile.Func(c.reconcile))
	loop.On(c.loop, &corev1.ResourceQuota{}, c.onQuota)
	definitions := &metav1.PartialObjectMetadata{}
	definitions.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	loop.On(c.loop, definitions, func(old, d *metav1.PartialObjectMetadata) { c.onDefinition(ctx, old, d) })
	return c.loop.Start()
}

// onQuota counts when what is limited has changed, and where the status does not say
// yet what is used. Charges are changes of the status alone and need no counting.
func (c *controller) onQuota(old, q *corev1.ResourceQuota) {
	if q != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec, q.Spec) || !math.Equals(q.Spec.Hard, q.Status.Hard)) {
		c.loop.Add(loop.Key(q))
	}
}

func (c *controller) onDefinition(ctx context.Context, old, d *metav1.PartialObjectMetadata) {
	if old != nil && d != nil && old.Generation == d.Generation {
		return
	}
	c.wake(ctx, "", schema.GroupResource{}, kindsChanged)
}

// wake has the quotas of a namespace ("" for all) counted that limit gr (the zero
// value for any).
func (c *controller) wake(ctx context.Context, namespace string, gr schema.GroupResource, after time.Duration) {
	var list corev1.ResourceQuotaList
	if err := c.env.Cache.List(ctx, &list, crclient.InNamespace(namespace), crclient.UnsafeDisableDeepCopy); err != nil {
		if ctx.Err() == nil {
			c.env.Log.Warn("quotas are not counted anew until the next round", "controller", "resourcequota", "err", err)
		}
		return
	}
	for i := range list.Items {
		if gr.Empty() || quota.Limits(&list.Items[i], gr) {
			c.loop.AddAfter(loop.Key(&list.Items[i]), after)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	kindOf, err := c.kinds(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	var q corev1.ResourceQuota
	if err := c.env.Client.Get(ctx, r.NamespacedName, &q); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	resources := quota.Resources(&q)
	fresh := false
	for _, gr := range resources {
		if gvk, ok := kindOf[gr]; ok {
			new, err := c.follow(ctx, gr, gvk)
			if err != nil {
				return reconcile.Result{}, err
			}
			fresh = fresh || new
		}
	}
	if fresh {
		// Following took time: what was read of the quota before may be old.
		if err := c.env.Client.Get(ctx, r.NamespacedName, &q); err != nil {
			return reconcile.Result{}, crclient.IgnoreNotFound(err)
		}
	}
	used := corev1.ResourceList{}
	for _, gr := range resources {
		gvk, ok := kindOf[gr]
		if !ok {
			continue
		}
		objects, err := c.list(ctx, gvk, q.Namespace)
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("list %s: %w", gr, err)
		}
		part, err := quota.Used(&q, gr, objects, time.Now())
		if err != nil {
			return reconcile.Result{}, err
		}
		used = math.Add(used, part)
	}
	// What nobody can count now (the kind of a definition that is gone) stays.
	for name, v := range q.Status.Used {
		if _, counted := used[name]; !counted {
			used[name] = v
		}
	}
	used = math.Mask(used, math.ResourceNames(q.Spec.Hard))
	newLimits := !math.Equals(q.Spec.Hard, q.Status.Hard)
	if !newLimits && math.Equals(used, q.Status.Used) {
		return reconcile.Result{RequeueAfter: recount}, nil
	}
	q.Status.Hard, q.Status.Used = q.Spec.Hard, used
	if err := c.env.Client.Status().Update(ctx, &q); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	if newLimits {
		// Until now the API server did not know these limits, and charged nothing for
		// what came while we counted.
		c.loop.Add(r)
	}
	return reconcile.Result{RequeueAfter: recount}, nil
}

// kinds finds the kind of each resource that is served now.
func (c *controller) kinds(ctx context.Context) (map[schema.GroupResource]schema.GroupVersionKind, error) {
	served, err := c.env.Kinds.Kinds(ctx)
	if err != nil && len(served) == 0 {
		return nil, fmt.Errorf("which kinds there are: %w", err)
	}
	out := make(map[schema.GroupResource]schema.GroupVersionKind, len(served))
	for _, s := range served {
		if s.Namespaced && s.Has("list", "watch") {
			out[schema.GroupResource{Group: s.Group, Resource: s.Resource}] = s.GroupVersionKind
		}
	}
	return out, nil
}

// typed are the kinds whose objects are more to a quota than their number.
var typed = map[schema.GroupResource]crclient.Object{
	{Resource: "pods"}:                                     &corev1.Pod{},
	{Resource: "services"}:                                 &corev1.Service{},
	{Resource: "persistentvolumeclaims"}:                   &corev1.PersistentVolumeClaim{},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}: &resourcev1.ResourceClaim{},
}

// follow notices what objects of a resource give back. It returns when every change
// that comes after will be noticed; new tells whether that took a while.
func (c *controller) follow(ctx context.Context, gr schema.GroupResource, gvk schema.GroupVersionKind) (new bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed[gr] {
		return false, nil
	}
	sample, whole := typed[gr]
	if !whole {
		m := &metav1.PartialObjectMetadata{}
		m.SetGroupVersionKind(gvk)
		sample = m
	}
	if _, err := c.env.Cache.GetInformer(ctx, sample, cache.BlockUntilSynced(true)); err != nil {
		return false, fmt.Errorf("follow %s: %w", gr, err)
	}
	err = loop.Follow(c.loop, sample, func(old, obj crclient.Object) {
		switch {
		case old == nil:
		case obj == nil:
			c.wake(ctx, old.GetNamespace(), gr, 0)
		case whole && !quota.Same(gr, old, obj, time.Now()):
			c.wake(ctx, obj.GetNamespace(), gr, 0)
		}
	})
	if err != nil {
		return false, err
	}
	c.followed[gr] = true
	return true, nil
}

// list returns the objects of a kind in a namespace; shared, not to be changed.
func (c *controller) list(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]kinds.Object, error) {
	var list crclient.ObjectList
	switch gvk.GroupKind() {
	case corev1.SchemeGroupVersion.WithKind("Pod").GroupKind():
		list = &corev1.PodList{}
	case corev1.SchemeGroupVersion.WithKind("Service").GroupKind():
		list = &corev1.ServiceList{}
	case corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim").GroupKind():
		list = &corev1.PersistentVolumeClaimList{}
	case resourcev1.SchemeGroupVersion.WithKind("ResourceClaim").GroupKind():
		list = &resourcev1.ResourceClaimList{}
	default:
		m := &metav1.PartialObjectMetadataList{}
		gvk.Kind += "List"
		m.SetGroupVersionKind(gvk)
		list = m
	}
	if err := c.env.Client.List(ctx, list, crclient.InNamespace(namespace), crclient.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]kinds.Object, 0, meta.LenList(list))
	err := meta.EachListItem(list, func(o runtime.Object) error {
		out = append(out, o.(kinds.Object))
		return nil
	})
	return out, err
}
