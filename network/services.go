package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"skiff.dev/skiff/kernel/nft"
)

// labelOtherProxy says that someone else serves the service
// (https://kubernetes.io/docs/reference/labels-annotations-taints/#servicekubernetesioservice-proxy-name).
const labelOtherProxy = "service.kubernetes.io/service-proxy-name"

// place is what a service's compilation depends on besides the objects.
type place struct {
	node    string       // whose endpoints are local
	cluster netip.Prefix // all pods
}

// target is one endpoint of a port.
type target struct {
	addr                        netip.AddrPort
	ready, serving, terminating bool
	local                       bool
}

// compileService decides what the table holds for one service. The rules are
// kube-proxy's (https://kubernetes.io/docs/reference/networking/virtual-ips/).
func compileService(svc *v1.Service, slices []*discoveryv1.EndpointSlice, at place) *fragment {
	f := newFragment()
	if svc.Spec.Type == v1.ServiceTypeExternalName || svc.Spec.ClusterIP == v1.ClusterIPNone || svc.Spec.ClusterIP == "" ||
		svc.Labels[labelOtherProxy] != "" {
		return f
	}
	for i := range svc.Spec.Ports {
		p := newPort(f, svc, &svc.Spec.Ports[i], at)
		p.choose(targetsOf(slices, p.spec.Name, p.spec.Protocol, at.node))
		p.compile()
	}
	return f
}

// targetsOf collects the endpoints of a port, sorted, each once.
func targetsOf(all []*discoveryv1.EndpointSlice, port string, proto v1.Protocol, node string) []target {
	var out []target
	for _, s := range all {
		if s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, p := range s.Ports {
			if value(p.Name, "") != port || value(p.Protocol, v1.ProtocolTCP) != cmp.Or(proto, v1.ProtocolTCP) || p.Port == nil {
				continue
			}
			for i := range s.Endpoints {
				if t, ok := targetOf(&s.Endpoints[i], uint16(*p.Port), node); ok {
					out = append(out, t)
				}
			}
		}
	}
	// The readiest of several mentions of an address comes first and stays.
	slices.SortFunc(out, func(a, b target) int {
		return cmp.Or(a.addr.Compare(b.addr), -compareBool(a.ready, b.ready), -compareBool(a.serving, b.serving))
	})
	return slices.CompactFunc(out, func(a, b target) bool { return a.addr == b.addr })
}

func targetOf(e *discoveryv1.Endpoint, port uint16, node string) (target, bool) {
	if len(e.Addresses) == 0 {
		return target{}, false
	}
	a, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || !a.Is4() {
		return target{}, false
	}
	// Unknown is ready, and serving is as ready (discovery/v1 EndpointConditions).
	ready := value(e.Conditions.Ready, true)
	return target{
		addr: netip.AddrPortFrom(a, port), ready: ready, serving: value(e.Conditions.Serving, ready),
		terminating: value(e.Conditions.Terminating, false), local: node != "" && value(e.NodeName, "") == node,
	}, true
}

// usable picks the ready ones, or, where there are none, those that still serve
// while they terminate.
func usable(all []target, localOnly bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, t := range all {
		switch {
		case localOnly && !t.local:
		case t.ready:
			ready = append(ready, t.addr)
		case t.serving && t.terminating:
			ending = append(ending, t.addr)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// port compiles one port of a service into a fragment.
type port struct {
	f     *fragment
	svc   *v1.Service
	spec  *v1.ServicePort
	at    place
	proto string
	name  string // what its chains are called after

	all, local    []netip.AddrPort // whom to send to
	anywhere      bool             // there is an endpoint, here or elsewhere
	internalLocal bool
	externalLocal bool
	affinity      time.Duration
}

func newPort(f *fragment, svc *v1.Service, spec *v1.ServicePort, at place) *port {
	p := &port{f: f, svc: svc, spec: spec, at: at}
	p.proto = strings.ToLower(string(cmp.Or(spec.Protocol, v1.ProtocolTCP)))
	p.name = fmt.Sprintf("%s/%s/%s/%d", svc.Namespace, svc.Name, p.proto, spec.Port)
	p.internalLocal = value(svc.Spec.InternalTrafficPolicy, v1.ServiceInternalTrafficPolicyCluster) == v1.ServiceInternalTrafficPolicyLocal
	p.externalLocal = svc.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal
	if svc.Spec.SessionAffinity == v1.ServiceAffinityClientIP {
		seconds := int32(v1.DefaultClientIPServiceAffinitySeconds)
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			seconds = *c.ClientIP.TimeoutSeconds
		}
		p.affinity = time.Duration(seconds) * time.Second
	}
	return p
}

func (p *port) choose(all []target) {
	p.all, p.local = usable(all, false), usable(all, true)
	p.anywhere = len(p.all) > 0
}

func (p *port) compile() {
	for _, ip := range clusterIPs(p.svc) {
		key := p.serviceKey(ip)
		switch to := p.internalTargets(); {
		case len(to) > 0:
			p.f.put(setServices, key, "goto "+p.internalChain())
			p.track(netip.AddrPortFrom(ip, uint16(p.spec.Port)), to)
		case p.anywhere: // but not here, where internalTrafficPolicy wants them
			p.f.put(setUnserved, key, "drop")
		default:
			p.f.put(setUnserved, key, "goto "+chainRefuse)
			p.track(netip.AddrPortFrom(ip, uint16(p.spec.Port)), nil)
		}
	}
	for _, ip := range externalIPs(p.svc) {
		p.external(setServices, setUnserved, setOutside, p.serviceKey(ip), "")
		p.track(netip.AddrPortFrom(ip, uint16(p.spec.Port)), p.all)
	}
	for _, ip := range ingressIPs(p.svc) {
		p.external(setServices, setUnserved, setOutside, p.serviceKey(ip), p.firewall())
		p.track(netip.AddrPortFrom(ip, uint16(p.spec.Port)), p.all)
	}
	if n := p.spec.NodePort; n != 0 && (p.svc.Spec.Type == v1.ServiceTypeNodePort || p.svc.Spec.Type == v1.ServiceTypeLoadBalancer) {
		p.external(setNodePorts, setUnservedPorts, setOutsidePorts, fmt.Sprintf("%s . %d", p.proto, n), "")
		p.track(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n)), p.all)
	}
}

func (p *port) serviceKey(ip netip.Addr) string {
	return fmt.Sprintf("%s . %s . %d", ip, p.proto, p.spec.Port)
}

// track notes who answers UDP clients of an address.
func (p *port) track(to netip.AddrPort, servers []netip.AddrPort) {
	if p.proto == "udp" {
		p.f.udp[to] = servers
	}
}

func (p *port) internalTargets() []netip.AddrPort {
	if p.internalLocal {
		return p.local
	}
	return p.all
}

func (p *port) internalChain() string {
	if p.internalLocal {
		return p.chain("local", p.local)
	}
	return p.chain("svc", p.all)
}

// external serves a key that is reached from outside the cluster too.
func (p *port) external(served, unserved, outside, key, via string) {
	switch {
	case !p.anywhere:
		p.f.put(unserved, key, "goto "+chainRefuse)
		return
	case via != "":
		p.f.put(served, key, "goto "+via)
	default:
		p.f.put(served, key, "goto "+p.externalChain())
	}
	if !p.externalLocal {
		p.f.put(outside, key, "")
	}
}

// externalChain obeys externalTrafficPolicy: Local keeps the client's address and
// sends outside clients to this node's endpoints alone; pods and the node itself
// may use any.
func (p *port) externalChain() string {
	if !p.externalLocal {
		return p.chain("svc", p.all)
	}
	name := "ext/" + p.name
	if _, ok := p.f.chains[name]; ok {
		return name
	}
	svc := p.chain("svc", p.all)
	rules := []string{
		fmt.Sprintf("ip saddr %s goto %s", p.at.cluster, svc),
		"fib saddr type local goto " + svc,
	}
	if len(p.local) > 0 {
		rules = append(rules, "goto "+p.chain("local", p.local))
	} else {
		rules = append(rules, "drop")
	}
	p.f.chains[name] = rules
	return name
}

// firewall is the chain that lets in loadBalancerSourceRanges alone, or "" where
// there are none.
func (p *port) firewall() string {
	if p.svc.Spec.Type != v1.ServiceTypeLoadBalancer || len(p.svc.Spec.LoadBalancerSourceRanges) == 0 || !p.anywhere {
		return ""
	}
	name := "fw/" + p.name
	var rules []string
	for _, r := range p.svc.Spec.LoadBalancerSourceRanges {
		if n, err := netip.ParsePrefix(strings.TrimSpace(r)); err == nil && n.Addr().Is4() {
			rules = append(rules, fmt.Sprintf("ip saddr %s goto %s", n.Masked(), p.externalChain()))
		}
	}
	p.f.chains[name] = append(rules, "drop")
	return name
}

// chain writes, once, the chain that sends to one of the targets.
func (p *port) chain(kind string, to []netip.AddrPort) string {
	name := kind + "/" + p.name
	if _, ok := p.f.chains[name]; ok {
		return name
	}
	if p.affinity > 0 {
		p.f.chains[name] = p.sticky(to)
	} else {
		p.f.chains[name] = nil
		p.f.picks[name] = to
	}
	return name
}

// sticky sends a client where it was before, or anywhere and remembers it.
func (p *port) sticky(to []netip.AddrPort) []string {
	var rules, choice []string
	for i, t := range to {
		id := fmt.Sprintf("%s/%s/%d", p.name, t.Addr(), t.Port())
		s := nft.Set{Name: "affinity/" + id, Key: "ipv4_addr", Dynamic: true, Timeout: p.affinity}
		p.f.sets[s.Name] = s
		p.f.chains["ep/"+id] = []string{
			"update @" + s.Name + " { ip saddr }",
			"dnat to " + t.String(),
		}
		rules = append(rules, "ip saddr @"+s.Name+" goto ep/"+id)
		choice = append(choice, fmt.Sprintf("%d : goto ep/%s", i, id))
	}
	return append(rules, fmt.Sprintf("numgen random mod %d vmap { %s }", len(to), strings.Join(choice, ", ")))
}

func clusterIPs(svc *v1.Service) []netip.Addr {
	all := svc.Spec.ClusterIPs
	if len(all) == 0 {
		all = []string{svc.Spec.ClusterIP}
	}
	return addrs(all)
}

func externalIPs(svc *v1.Service) []netip.Addr { return addrs(svc.Spec.ExternalIPs) }

// ingressIPs are the addresses that a load balancer passes on unchanged.
func ingressIPs(svc *v1.Service) []netip.Addr {
	var all []string
	if svc.Spec.Type == v1.ServiceTypeLoadBalancer {
		for _, i := range svc.Status.LoadBalancer.Ingress {
			if i.IP != "" && value(i.IPMode, v1.LoadBalancerIPModeVIP) == v1.LoadBalancerIPModeVIP {
				all = append(all, i.IP)
			}
		}
	}
	return addrs(all)
}

func addrs(all []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
