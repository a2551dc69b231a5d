// Package endpoints lists the pods behind each service in an Endpoints object, the
// older form of EndpointSlices.
//
// Reads: Services, Pods.
// Writes: Endpoints of services with a selector.
package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/endpointset"
	"skiff.dev/skiff/controllers/loop"
)

const (
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
	electionMark   = "control-plane.alpha.kubernetes.io/leader"
)

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("endpoint-controller")}
	c.loop = loop.New(ctx, env, "endpoints", 5, reconcile.Func(c.reconcile))
	selectors := &endpointset.Selectors{}
	loop.On(c.loop, &corev1.Service{}, selectors.OnService(c.loop))
	loop.On(c.loop, &corev1.Pod{}, selectors.OnPod(c.loop))
	loop.On(c.loop, &corev1.Endpoints{}, c.onEndpoints)
	return c.loop.Start()
}

// onEndpoints puts right what others did to ours. Endpoints that somebody else
// makes are left alone, also while their service is not there yet.
func (c *controller) onEndpoints(old, ep *corev1.Endpoints) {
	if ep == nil {
		ep = old
	} else if ep.Labels[managedByLabel] != managedBy {
		return
	}
	c.loop.Add(loop.Key(ep))
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	svc := &corev1.Service{}
	err := c.env.Cache.Get(ctx, r.NamespacedName, svc)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, c.gone(ctx, r)
	}
	if err != nil || !endpointset.Selects(svc) || svc.DeletionTimestamp != nil {
		return reconcile.Result{}, err
	}
	pods, err := endpointset.PodsBehind(ctx, c.env, svc)
	if err != nil {
		return reconcile.Result{}, err
	}
	have := &corev1.Endpoints{}
	err = c.env.Cache.Get(ctx, r.NamespacedName, have)
	create := apierrors.IsNotFound(err)
	switch {
	case create:
		have = &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	case err != nil:
		return reconcile.Result{}, err
	}
	next, changed := decide(svc, pods, have)
	switch {
	case create:
		err = c.env.Client.Create(ctx, next)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return reconcile.Result{}, nil
		}
		if err != nil {
			c.events.Eventf(next, corev1.EventTypeWarning, "FailedToCreateEndpoint", "Failed to create endpoint for service %v/%v: %v", svc.Namespace, svc.Name, err)
		}
	case changed:
		err = c.env.Client.Update(ctx, next)
		if err != nil {
			c.events.Eventf(next, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %v/%v: %v", svc.Namespace, svc.Name, err)
		}
	}
	return reconcile.Result{}, err
}

// gone deletes the Endpoints of a service that is no more, whoever wrote them, as
// Kubernetes does. Those that old leader elections use are of no service.
func (c *controller) gone(ctx context.Context, r loop.Request) error {
	have := &corev1.Endpoints{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, have); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if _, election := have.Annotations[electionMark]; election {
		return nil
	}
	return crclient.IgnoreNotFound(c.env.Client.Delete(ctx, have))
}

// decide makes of have what a service's Endpoints should be.
func decide(svc *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) (next *corev1.Endpoints, changed bool) {
	var all endpointset.Subsets
	v6 := endpointset.Families(svc, pods)[0]
	for _, p := range pods {
		if !endpointset.Belongs(p, svc.Spec.PublishNotReadyAddresses) {
			continue
		}
		ip := endpointset.Address(p, v6)
		if ip == "" {
			continue
		}
		node := p.Spec.NodeName
		addr := corev1.EndpointAddress{IP: ip, NodeName: &node, TargetRef: endpointset.PodRef(p)}
		if endpointset.HasHostname(p, svc) {
			addr.Hostname = p.Spec.Hostname
		}
		ready := svc.Spec.PublishNotReadyAddresses || loop.Ready(p)
		if len(svc.Spec.Ports) == 0 && svc.Spec.ClusterIP == corev1.ClusterIPNone {
			all.Add(addr, nil, ready)
		}
		for i := range svc.Spec.Ports {
			sp := &svc.Spec.Ports[i]
			if n, err := endpointset.Port(p, sp); err == nil {
				all.Add(addr, &corev1.EndpointPort{Name: sp.Name, Port: n, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol}, ready)
			}
		}
	}
	next = have.DeepCopy()
	next.Subsets = all.Pack()
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if endpointset.Headless(svc) {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[managedByLabel] = managedBy
	next.Labels = labels
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if endpointset.Truncate(next.Subsets) {
		next.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	changed = !apiequality.Semantic.DeepEqual(have.Subsets, next.Subsets) ||
		!maps.Equal(have.Labels, next.Labels) ||
		have.Annotations[corev1.EndpointsOverCapacity] != next.Annotations[corev1.EndpointsOverCapacity]
	if t := endpointset.TriggerTime(svc, pods); t != "" {
		next.Annotations[corev1.EndpointsLastChangeTriggerTime] = t
	}
	return next, changed
}
