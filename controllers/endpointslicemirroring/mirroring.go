// Package endpointslicemirroring copies Endpoints that people write for services
// without a selector to EndpointSlices, which is what the data plane reads.
//
// Reads: Services, Endpoints.
// Writes: EndpointSlices that it labels as managed by
// endpointslicemirroring-controller.k8s.io.
package endpointslicemirroring

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"context"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/endpointset"
	"skiff.dev/skiff/controllers/loop"
)

const (
	manager      = "endpointslicemirroring-controller.k8s.io"
	perSubset    = 1000
	electionMark = "control-plane.alpha.kubernetes.io/leader"
	invalidIP    = "InvalidIPAddress"
	tooMany      = "TooManyAddressesToMirror"
)

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("endpoint-slice-mirroring-controller")}
	c.loop = loop.New(ctx, env, "endpointslicemirroring", 5, reconcile.Func(c.reconcile))
	loop.On(c.loop, &corev1.Endpoints{}, loop.Enqueue[*corev1.Endpoints](c.loop))
	loop.On(c.loop, &corev1.Service{}, loop.Enqueue[*corev1.Service](c.loop))
	loop.On(c.loop, &discoveryv1.EndpointSlice{}, c.onSlice)
	return c.loop.Start()
}

func (c *controller) onSlice(old, s *discoveryv1.EndpointSlice) {
	for _, s := range []*discoveryv1.EndpointSlice{old, s} {
		if s != nil && s.Labels[discoveryv1.LabelManagedBy] == manager {
			c.loop.Add(loop.Request{NamespacedName: types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}})
		}
	}
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	existing, err := endpointset.Existing(ctx, c.env.Client, r.Namespace, r.Name, manager)
	if err != nil {
		return reconcile.Result{}, err
	}
	ep, err := c.source(ctx, r)
	if err != nil {
		return reconcile.Result{}, err
	}
	if ep == nil {
		return reconcile.Result{}, endpointset.Apply(ctx, c.env.Client, endpointset.Plan{Delete: existing})
	}
	plan, invalid, skipped := decide(ep, existing)
	if !plan.Empty() && invalid > 0 {
		c.events.Eventf(ep, corev1.EventTypeWarning, invalidIP, "Skipped %d invalid IP addresses when mirroring to EndpointSlices", invalid)
	}
	if !plan.Empty() && skipped > 0 {
		c.events.Eventf(ep, corev1.EventTypeWarning, tooMany,
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", perSubset, skipped+invalid)
	}
	return reconcile.Result{}, endpointset.Apply(ctx, c.env.Client, plan)
}

// source returns the Endpoints to mirror, nil if there is nothing to mirror.
func (c *controller) source(ctx context.Context, r loop.Request) (*corev1.Endpoints, error) {
	ep, svc := &corev1.Endpoints{}, &corev1.Service{}
	for _, obj := range []crclient.Object{ep, svc} {
		if err := c.env.Cache.Get(ctx, r.NamespacedName, obj); err != nil {
			return nil, crclient.IgnoreNotFound(err)
		}
	}
	_, election := ep.Annotations[electionMark]
	if election || ep.Labels[discoveryv1.LabelSkipMirror] == "true" || svc.Spec.Selector != nil || ep.DeletionTimestamp != nil {
		return nil, nil
	}
	return ep, nil
}

// decide plans the slices of one Endpoints object; invalid and skipped count the
// addresses left out for what they are and for being too many.
func decide(ep *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) (plan endpointset.Plan, invalid, skipped int) {
	var groups endpointset.Groups
	for _, s := range repack(ep.Subsets) {
		ports := make([]discoveryv1.EndpointPort, len(s.Ports))
		for i, p := range s.Ports {
			ports[i] = discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol}
		}
		added := 0
		add := func(addrs []corev1.EndpointAddress, ready bool) {
			for _, a := range addrs {
				if added >= perSubset {
					skipped++
					continue
				}
				t, e, ok := endpoint(a, ready)
				if !ok {
					invalid++
					continue
				}
				groups.Add(t, ports, e)
				added++
			}
		}
		add(s.Addresses, true)
		add(s.NotReadyAddresses, false)
	}
	plan = endpointset.Pack(&groups, existing, func(s *discoveryv1.EndpointSlice) bool { return shape(ep, s) })
	return plan, invalid, skipped
}

func repack(in []corev1.EndpointSubset) []corev1.EndpointSubset {
	var all endpointset.Subsets
	for _, s := range in {
		ports := []*corev1.EndpointPort{}
		for i := range s.Ports {
			ports = append(ports, &s.Ports[i])
		}
		if len(ports) == 0 {
			ports = append(ports, nil)
		}
		for _, p := range ports {
			for _, a := range s.Addresses {
				all.Add(a, p, true)
			}
			for _, a := range s.NotReadyAddresses {
				all.Add(a, p, false)
			}
		}
	}
	return all.Pack()
}

func endpoint(a corev1.EndpointAddress, ready bool) (discoveryv1.AddressType, discoveryv1.Endpoint, bool) {
	ip, err := netip.ParseAddr(a.IP)
	if err != nil {
		return "", discoveryv1.Endpoint{}, false
	}
	t := discoveryv1.AddressTypeIPv4
	if ip = ip.Unmap(); ip.Is6() {
		t = discoveryv1.AddressTypeIPv6
	}
	e := discoveryv1.Endpoint{
		Addresses: []string{ip.String()}, NodeName: a.NodeName, TargetRef: a.TargetRef,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready},
	}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return t, e, true
}

func shape(ep *corev1.Endpoints, s *discoveryv1.EndpointSlice) (changed bool) {
	labels := maps.Clone(ep.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = ep.Name, manager
	annotations := maps.Clone(ep.Annotations)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if s.Name == "" && s.GenerateName == "" {
		s.Namespace, s.GenerateName = ep.Namespace, loop.GenerateName(ep.Name)
		s.OwnerReferences = append(s.OwnerReferences, endpointset.Owned(ep, "Endpoints"))
	}
	if !maps.Equal(s.Labels, labels) || !maps.Equal(s.Annotations, annotations) {
		s.Labels, s.Annotations = labels, annotations
		return true
	}
	return false
}
