package platform

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/dns"
	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/network"
	"skiff.dev/skiff/node/podspec"
)

// chooseRanges settles the ranges of pods and services beside what the machine
// and other instances use.
func (p *process) chooseRanges() error {
	if err := p.claimRanges(); err != nil {
		return err
	}
	var err error
	if p.pods, err = netip.ParsePrefix(p.cfg.PodCIDR); err != nil {
		return err
	}
	if p.services, err = netip.ParsePrefix(p.cfg.ServiceCIDR); err != nil {
		return err
	}
	dns := p.services.Addr().As4()
	dns[3] += 10
	p.dns = netip.AddrFrom4(dns)
	return nil
}

// claimRanges keeps other instances on this machine off the ranges. A control plane
// alone uses none of their addresses here.
func (p *process) claimRanges() error {
	if p.cfg.DisableNode {
		return nil
	}
	routes, err := network.Routes()
	if err != nil {
		return fmt.Errorf("list the machine's routes: %w", err)
	}
	if exists(filepath.Join(p.cfg.Data, configFile)) {
		routes = nil // they may be our own, from before
	}
	return claimRanges(p.cfg, routes)
}

func networkDir(c *Config) string { return filepath.Join(c.Run, "network") }

// connectNetwork makes the node's network and answers the cluster's names on it.
func (p *process) connectNetwork(ctx context.Context) (func(), error) {
	n, err := network.New(network.Options{
		Instance:    p.instance,
		Cache:       p.client,
		NodeName:    p.cfg.NodeName,
		NodeIP:      p.nodeIP,
		ClusterCIDR: p.pods,
		ServiceCIDR: p.services,
		RunDir:      networkDir(p.cfg),
		Telemetry:   p.tel.For("network"),
	})
	if err != nil {
		return nil, orLacks(err)
	}
	p.network = n
	if err := p.keepPods(ctx); err != nil {
		return nil, err
	}
	p.component("network", n.Run)
	p.component("dns", p.runDNS)
	return nil, nil
}

// checkNetwork tries whether the kernel has what pods need. Where others have used
// it since the machine was started it is there.
func checkNetwork() error {
	if exists("/sys/module/veth") && exists("/sys/module/nf_tables") {
		return nil
	}
	return orLacks(nil)
}

// orLacks says what the kernel lacks, if that is the reason of err.
func orLacks(err error) error {
	modules, why := network.Lacks()
	if len(modules) == 0 {
		return errors.Join(err, why)
	}
	return &Fault{
		What: "the kernel lacks what pods' networks need: " + why.Error(),
		Do:   "load it with: modprobe -a " + strings.Join(modules, " ") + "; a kernel that has no such modules cannot run skiff",
		Err:  errors.Join(err, why),
	}
}

// keepPods takes away what the network holds for pods whose sandboxes are gone.
func (p *process) keepPods(ctx context.Context) error {
	sandboxes, err := p.engine.Sandboxes(ctx)
	if err != nil {
		return err
	}
	var uids []string
	for _, s := range sandboxes {
		uids = append(uids, s.Spec.Labels[podspec.LabelUID])
	}
	return p.network.Keep(ctx, uids)
}

// runDNS serves the cluster's names on the node's own address in the pods' range,
// and shows it as the service that pods ask.
func (p *process) runDNS(ctx context.Context) error {
	gateway, err := p.network.Gateway(ctx)
	if err != nil {
		return err
	}
	for _, o := range []crclient.Object{network.DNSService(p.dns), network.DNSSlice(p.cfg.NodeName, gateway, 53)} {
		if err := p.ensure(ctx, o); err != nil {
			// What users made in its place must not keep the cluster from running.
			p.tel.Log.Error("cannot make the service of the cluster's DNS", "error", err)
		}
	}
	return dns.New(dns.Options{
		Cache:     p.client,
		Domain:    p.cfg.ClusterDomain,
		Listen:    []string{netip.AddrPortFrom(gateway, 53).String()},
		Telemetry: p.tel.For("dns"),
	}).Run(ctx)
}

// ensure creates o unless there is one of its name. It looks first: a service that
// asks for its address is refused before its name is seen to be taken.
func (p *process) ensure(ctx context.Context, o crclient.Object) error {
	there := o.DeepCopyObject().(crclient.Object)
	err := p.client.Get(ctx, crclient.ObjectKeyFromObject(o), there)
	if !apierrors.IsNotFound(err) {
		return err
	}
	if err := p.client.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// wipeNetwork takes every trace of the instance's networks from the machine.
func wipeNetwork(c *Config) error {
	err := errors.Join(network.Wipe(c.Instance(), networkDir(c)), bridge.Withdraw(c.Instance(), dockerNetworksDir(c)))
	if err != nil {
		return errors.Join(errors.New("remove interfaces and tables"), err)
	}
	return nil
}
