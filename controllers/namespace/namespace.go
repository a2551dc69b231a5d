// Package namespace empties namespaces that are being deleted: pods first, since
// they may need the rest to end well, then everything else; and lets go of the
// namespace when nothing is left.
//
// Reads: Namespaces, Pods; every kind of a namespace that is being deleted.
// Writes: the finalizer kubernetes and the status of Namespaces; deletes all else.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers/loop"
)

type controller struct {
	env *loop.Env
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env}
	l := loop.New(ctx, env, "namespace", 5, reconcile.Func(c.reconcile))
	loop.On(l, &corev1.Namespace{}, func(_, ns *corev1.Namespace) {
		if ns != nil && ns.DeletionTimestamp != nil {
			l.Add(loop.Key(ns))
		}
	})
	loop.On(l, &corev1.Pod{}, func(old, pod *corev1.Pod) {
		if pod == nil {
			// Only a namespace being deleted does anything with it.
			l.Add(loop.Request{NamespacedName: types.NamespacedName{Name: old.Namespace}})
		}
	})
	return l.Start()
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	ns := &corev1.Namespace{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, ns); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return reconcile.Result{}, nil
	}
	left := c.empty(ctx, ns.Name)
	status := ns.Status.DeepCopy()
	status.Phase = corev1.NamespaceTerminating
	setConditions(status, left, metav1.Now())
	if changed(&ns.Status, status) {
		ns.Status = *status
		if err := c.env.Client.Status().Update(ctx, ns); err != nil {
			return reconcile.Result{}, crclient.IgnoreNotFound(err)
		}
	}
	if !left.none() {
		// What is left waits for a grace period or a finalizer; pods' ends wake us, for
		// the rest look again, the less often the longer it takes.
		age := time.Since(ns.DeletionTimestamp.Time)
		return reconcile.Result{RequeueAfter: min(max(age/2, 500*time.Millisecond), 30*time.Second)}, nil
	}
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	err := c.env.Client.SubResource("finalize").Update(ctx, ns)
	return reconcile.Result{}, crclient.IgnoreNotFound(err)
}

// remains is what a pass could not delete yet.
type remains struct {
	discovery  error
	failures   []error
	resources  map[string]int // "pods." or "deployments.apps" to a number
	finalizers map[string]int
}

func (r *remains) none() bool {
	return r.discovery == nil && len(r.failures) == 0 && len(r.resources) == 0
}

func (c *controller) empty(ctx context.Context, namespace string) *remains {
	left := &remains{resources: map[string]int{}, finalizers: map[string]int{}}
	kinds, err := c.env.Kinds.Kinds(ctx)
	left.discovery = err
	pod := slices.IndexFunc(kinds, func(k client.Served) bool { return k.Group == "" && k.Kind == "Pod" })
	if pod >= 0 {
		c.emptyKind(ctx, namespace, kinds[pod], left)
		if !left.none() && left.discovery == nil {
			return left
		}
	}
	for i, k := range kinds {
		if i != pod && k.Namespaced && k.Has("list", "delete") {
			c.emptyKind(ctx, namespace, k, left)
		}
	}
	return left
}

func (c *controller) emptyKind(ctx context.Context, namespace string, k client.Served, left *remains) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	count := func() bool {
		err := c.env.Client.List(ctx, list, crclient.InNamespace(namespace), crclient.UnsafeDisableDeepCopy)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			left.failures = append(left.failures, err)
		}
		return err == nil && len(list.Items) > 0
	}
	if !count() {
		return
	}
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(k.GroupVersionKind)
	background := crclient.PropagationPolicy(metav1.DeletePropagationBackground)
	if k.Has("deletecollection") {
		if err := c.env.Client.DeleteAllOf(ctx, obj, crclient.InNamespace(namespace), background); err != nil {
			left.failures = append(left.failures, err)
		}
	} else {
		for i := range list.Items {
			one := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: list.Items[i].Name}}
			one.SetGroupVersionKind(k.GroupVersionKind)
			if err := c.env.Client.Delete(ctx, one, background); crclient.IgnoreNotFound(err) != nil {
				left.failures = append(left.failures, err)
			}
		}
	}
	if count() {
		left.resources[k.Resource+"."+k.Group] = len(list.Items)
		for i := range list.Items {
			for _, f := range list.Items[i].Finalizers {
				left.finalizers[f]++
			}
		}
	}
}

func (r *remains) failure() error { return errors.Join(r.failures...) }

func instances(m map[string]int, format string) []string {
	var out []string
	for name, n := range m {
		out = append(out, fmt.Sprintf(format, name, n))
	}
	slices.Sort(out)
	return out
}
