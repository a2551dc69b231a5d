package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// follow joins the informers and returns when the first list of each was handed
// over.
func (n *Network) follow(ctx context.Context) error {
	type kind struct {
		obj client.Object
		on  func(old, new any)
	}
	var synced []toolscache.InformerSynced
	for _, k := range []kind{
		{&v1.Service{}, n.onService},
		{&discoveryv1.EndpointSlice{}, n.onSlice},
		{&v1.Node{}, n.onNode},
	} {
		inf, err := n.opts.Cache.GetInformer(ctx, k.obj)
		if err != nil {
			return fmt.Errorf("network: follow %T: %w", k.obj, err)
		}
		reg, err := inf.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { k.on(nil, obj) },
			UpdateFunc: func(old, obj any) { k.on(old, obj) },
			DeleteFunc: func(obj any) {
				if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
					obj = d.Obj
				}
				k.on(obj, nil)
			},
		})
		if err != nil {
			return fmt.Errorf("network: follow %T: %w", k.obj, err)
		}
		synced = append(synced, reg.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return errors.New("network: ended before the first list")
	}
	return nil
}

func (n *Network) onService(old, new any) {
	svc, _ := new.(*v1.Service)
	if svc == nil {
		if gone, ok := old.(*v1.Service); ok {
			n.proxy.setService(types.NamespacedName{Namespace: gone.Namespace, Name: gone.Name}, nil)
		}
		return
	}
	n.proxy.setService(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, svc)
}

func (n *Network) onSlice(old, new any) {
	before, _ := old.(*discoveryv1.EndpointSlice)
	now, _ := new.(*discoveryv1.EndpointSlice)
	if before != nil {
		if name := sliceService(before); now == nil || name != sliceService(now) {
			n.proxy.setSlice(name, before.Name, nil)
		}
	}
	if now != nil && sliceService(now).Name != "" {
		n.proxy.setSlice(sliceService(now), now.Name, now)
	}
}

// sliceService is the service that a slice is about.
func sliceService(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// onNode takes this node's range from its spec.
func (n *Network) onNode(_, new any) {
	node, _ := new.(*v1.Node)
	if node == nil || node.Name != n.opts.NodeName || n.opts.PodCIDR.IsValid() {
		return
	}
	for _, c := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(c); err == nil && p.Addr().Is4() {
			if err := n.SetPodCIDR(p); err != nil {
				n.opts.Telemetry.Log.Error("cannot use the node's pod CIDR", "podCIDR", c, "err", err)
			}
			return
		}
	}
}
