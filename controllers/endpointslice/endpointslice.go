// Package endpointslice lists the pods behind each service in EndpointSlices.
//
// Reads: Services, Pods, Nodes (their zone).
// Writes: EndpointSlices that it labels as managed by
// endpointslice-controller.k8s.io.
package endpointslice

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/endpointset"
	"skiff.dev/skiff/controllers/loop"
)

const manager = "endpointslice-controller.k8s.io"

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("endpoint-slice-controller")}
	c.loop = loop.New(ctx, env, "endpointslice", 5, reconcile.Func(c.reconcile))
	selectors := &endpointset.Selectors{}
	loop.On(c.loop, &corev1.Service{}, selectors.OnService(c.loop))
	loop.On(c.loop, &corev1.Pod{}, selectors.OnPod(c.loop))
	loop.On(c.loop, &discoveryv1.EndpointSlice{}, c.onSlice)
	return c.loop.Start()
}

// onSlice puts right what others did to our slices.
func (c *controller) onSlice(old, s *discoveryv1.EndpointSlice) {
	for _, s := range []*discoveryv1.EndpointSlice{old, s} {
		if s != nil && s.Labels[discoveryv1.LabelManagedBy] == manager {
			c.loop.Add(loop.Request{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}})
		}
	}
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	svc := &corev1.Service{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, svc); err != nil {
		// The garbage collector takes the slices of a service that is gone.
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	if svc.Spec.Selector == nil || svc.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	existing, err := endpointset.Existing(ctx, c.env.Client, svc.Namespace, svc.Name, manager)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !endpointset.Selects(svc) {
		return reconcile.Result{}, endpointset.Apply(ctx, c.env.Client, endpointset.Plan{Delete: existing})
	}
	pods, err := endpointset.PodsBehind(ctx, c.env, svc)
	if err != nil {
		return reconcile.Result{}, err
	}
	plan := decide(svc, pods, existing, c.zones(ctx, pods))
	if err := endpointset.Apply(ctx, c.env.Client, plan); err != nil {
		c.events.Eventf(svc, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", svc.Namespace, svc.Name, err)
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, nil
}

// zones looks up the zone of each node that a pod runs on.
func (c *controller) zones(ctx context.Context, pods []*corev1.Pod) map[string]string {
	out := map[string]string{}
	for _, p := range pods {
		name := p.Spec.NodeName
		if _, seen := out[name]; seen || name == "" {
			continue
		}
		var node corev1.Node
		if err := c.env.Cache.Get(ctx, types.NamespacedName{Name: name}, &node, crclient.UnsafeDisableDeepCopy); err == nil {
			out[name] = node.Labels[corev1.LabelTopologyZone]
		}
	}
	return out
}

// decide plans the slices of one service.
func decide(svc *corev1.Service, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice, zones map[string]string) endpointset.Plan {
	var groups endpointset.Groups
	var counted []*corev1.Pod
	for _, v6 := range endpointset.Families(svc, pods) {
		t := discoveryv1.AddressTypeIPv4
		if v6 {
			t = discoveryv1.AddressTypeIPv6
		}
		any := false
		for _, p := range pods {
			if !endpointset.Belongs(p, true) {
				continue
			}
			if addr := endpointset.Address(p, v6); addr != "" {
				groups.Add(t, portsOf(svc, p), endpoint(svc, p, addr, zones[p.Spec.NodeName]))
				counted = append(counted, p)
				any = true
			}
		}
		if !any {
			groups.Add(t, nil)
		}
	}
	return endpointset.Pack(&groups, existing, func(s *discoveryv1.EndpointSlice) bool {
		return shape(svc, s, endpointset.TriggerTime(svc, counted))
	})
}

func portsOf(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	// A headless service without ports lists addresses with an empty port list.
	out := []discoveryv1.EndpointPort{}
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		n, err := endpointset.Port(p, sp)
		if err != nil {
			continue
		}
		name, proto := sp.Name, sp.Protocol
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &n, Protocol: &proto, AppProtocol: sp.AppProtocol})
	}
	return out
}

func endpoint(svc *corev1.Service, p *corev1.Pod, addr, zone string) discoveryv1.Endpoint {
	serving := loop.Ready(p)
	terminating := p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{addr},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  endpointset.PodRef(p),
	}
	if p.Spec.NodeName != "" {
		node := p.Spec.NodeName
		e.NodeName = &node
	}
	if zone != "" {
		e.Zone = &zone
	}
	if endpointset.HasHostname(p, svc) {
		name := p.Spec.Hostname
		e.Hostname = &name
	}
	return e
}

// shape makes a slice's metadata right. The trigger time follows a change and is
// none itself.
func shape(svc *corev1.Service, s *discoveryv1.EndpointSlice, trigger string) (changed bool) {
	want := map[string]string{}
	for k, v := range svc.Labels {
		if k != discoveryv1.LabelServiceName && k != discoveryv1.LabelManagedBy && k != corev1.IsHeadlessService {
			want[k] = v
		}
	}
	want[discoveryv1.LabelServiceName], want[discoveryv1.LabelManagedBy] = svc.Name, manager
	if endpointset.Headless(svc) {
		want[corev1.IsHeadlessService] = ""
	}
	if s.Name == "" && s.GenerateName == "" {
		s.Namespace, s.GenerateName = svc.Namespace, loop.GenerateName(svc.Name)
		s.OwnerReferences = append(s.OwnerReferences, endpointset.Owned(svc, "Service"))
	}
	if changed = !maps.Equal(s.Labels, want); changed {
		s.Labels = want
	}
	if trigger != "" {
		s.Annotations = maps.Clone(s.Annotations)
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[corev1.EndpointsLastChangeTriggerTime] = trigger
	}
	return changed
}
