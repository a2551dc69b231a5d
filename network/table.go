package network

import (
	"fmt"
	"net/netip"

	"skiff.dev/skiff/kernel/nft"
)

// Names of the shared sets.
const (
	setServices      = "services"       // address, protocol, port of a service: where to
	setNodePorts     = "node-ports"     // protocol and port on the node's own addresses
	setUnserved      = "unserved"       // services that nobody serves: refused or dropped
	setUnservedPorts = "unserved-ports" // the same of node ports
	setOutside       = "outside"        // services whose clients' addresses are hidden from the servers
	setOutsidePorts  = "outside-ports"  // the same of node ports
	setHostPorts     = "host-ports"     // a pod's port on every address of the node
	setHostPortsAt   = "host-ports-at"  // a pod's port on one address
	setEndpoints     = "endpoints"      // numbers, which chains choose from, to endpoints
	setHairpin       = "hairpin"        // a pod that reaches itself through a service
)

const (
	keyService = "ipv4_addr . inet_proto . inet_service"
	keyPort    = "inet_proto . inet_service"
)

// markOutside is the bit of the packet mark of connections whose clients are hidden.
const markOutside uint32 = 0x4000

// chainRefuse answers with an ICMP error, so that clients know at once.
const chainRefuse = "refuse"

// layout is what the table's fixed part depends on.
type layout struct {
	instance  string
	cluster   netip.Prefix // all pods
	services  netip.Prefix
	nodePorts []netip.Prefix // addresses that node ports are served on; none is all
}

// baseTable is the fixed part of the instance's table: its hooks, and the shared
// sets which they look into. Packets meet, in order:
//
//	guard         pods must not write to 127.0.0.0/8, which route_localnet opens;
//	              nobody but pods and the node may write to the node's address among
//	              the pods, where it serves them alone
//	refuse-*      new connections to what nobody serves
//	*-nat         services, node ports, host ports: the first packet of a
//	              connection finds its server, by one lookup each
//	unreachable-* addresses that no pod has, ports that no service has
//	source-nat    whose address is hidden (masqueraded)
//
// What goes to services' external addresses is marked before its server is found, with
// the bit that kube-proxy takes for the same, and the mark is taken away where it is
// looked at: the first address of a connection can be had later too, but nft 1.0.6 aborts
// when it lists a rule that looks it up in a set. Nothing else is marked. The chains
// accept what they do not know: a packet that another table drops is dropped whatever
// this one says.
func baseTable(l layout) base {
	pods := fmt.Sprintf("%q", podPrefix(l.instance)+"*")
	anchor := fmt.Sprintf("%q", anchorName(l.instance))
	refuse := []string{
		"ct state new ip daddr . meta l4proto . th dport vmap @" + setUnserved,
	}
	serve := []string{
		"ip daddr . meta l4proto . th dport vmap @" + setServices,
		"dnat to ip daddr . meta l4proto . th dport map @" + setHostPortsAt,
	}
	for _, at := range l.nodePortMatches() {
		refuse = append(refuse, "ct state new "+at+" meta l4proto . th dport vmap @"+setUnservedPorts)
		serve = append(serve, at+" meta l4proto . th dport vmap @"+setNodePorts)
	}
	hide := fmt.Sprintf("ip daddr . meta l4proto . th dport @%s meta mark set meta mark or %#x", setOutside, markOutside)
	serve = append(serve, "fib daddr type local dnat to meta l4proto . th dport map @"+setHostPorts)
	return base{
		sets: []nft.Set{
			{Name: setServices, Key: keyService, Value: "verdict"},
			{Name: setNodePorts, Key: keyPort, Value: "verdict"},
			{Name: setUnserved, Key: keyService, Value: "verdict"},
			{Name: setUnservedPorts, Key: keyPort, Value: "verdict"},
			{Name: setOutside, Key: keyService},
			{Name: setOutsidePorts, Key: keyPort},
			{Name: setHostPorts, Key: keyPort, Value: "ipv4_addr . inet_service"},
			{Name: setHostPortsAt, Key: keyService, Value: "ipv4_addr . inet_service"},
			{Name: setEndpoints, Key: "mark", Value: "ipv4_addr . inet_service"},
			{Name: setHairpin, Key: "ipv4_addr . ipv4_addr"},
		},
		chains: []baseChain{
			{nft.Chain{Name: "guard", Type: "filter", Hook: "prerouting", Priority: -300},
				[]string{
					"iifname " + pods + " ip daddr 127.0.0.0/8 drop",
					fmt.Sprintf(`iifname != "lo" ip daddr %s ip saddr != %s fib daddr type local drop`, l.cluster, l.cluster),
				}},
			{nft.Chain{Name: "refuse-forward", Type: "filter", Hook: "forward", Priority: -110}, refuse},
			{nft.Chain{Name: "refuse-in", Type: "filter", Hook: "input", Priority: -110}, refuse},
			{nft.Chain{Name: "refuse-out", Type: "filter", Hook: "output", Priority: -110}, refuse},
			{nft.Chain{Name: chainRefuse}, []string{"reject with icmp type port-unreachable"}},
			{nft.Chain{Name: "serve"}, serve},
			{nft.Chain{Name: "in-nat", Type: "nat", Hook: "prerouting", Priority: -100}, []string{hide, "jump serve"}},
			{nft.Chain{Name: "out-nat", Type: "nat", Hook: "output", Priority: -100}, []string{hide, "jump serve"}},
			{nft.Chain{Name: "unreachable-forward", Type: "filter", Hook: "forward", Priority: 0},
				l.unreachable(anchor)},
			{nft.Chain{Name: "unreachable-out", Type: "filter", Hook: "output", Priority: 0},
				l.unreachable(anchor)},
			{nft.Chain{Name: "source-nat", Type: "nat", Hook: "postrouting", Priority: 100}, l.sourceNAT(pods)},
		},
	}
}

// unreachable is for what is routed to the anchor, behind which nobody is: ports
// that no service has, and addresses that no pod has.
func (l layout) unreachable(anchor string) []string {
	return []string{
		fmt.Sprintf("oifname %s ip daddr %s reject with icmp type port-unreachable", anchor, l.services),
		// What a service has sent elsewhere shows its first interface still.
		fmt.Sprintf("oifname %s ct status != dnat reject with icmp type host-unreachable", anchor),
	}
}

// sourceNAT is the rules for the source address of a connection's first packet.
func (l layout) sourceNAT(pods string) []string {
	return []string{
		`oifname "lo" return`,
		"ip saddr . ip daddr @" + setHairpin + " masquerade",
		"ct status dnat ip saddr 127.0.0.0/8 masquerade",
		fmt.Sprintf("meta mark and %#x == %#x meta mark set meta mark and %#x masquerade", markOutside, markOutside, ^markOutside),
		fmt.Sprintf("ct status dnat ct original ip daddr != %s meta l4proto . ct original proto-dst @%s masquerade", l.services, setOutsidePorts),
		// As kube-proxy with a cluster CIDR: a server on another node must answer
		// through this one.
		fmt.Sprintf("ct status dnat ct original ip daddr %s ip saddr != %s masquerade", l.services, l.cluster),
		fmt.Sprintf("ip saddr %s ip daddr != %s oifname != %s masquerade", l.cluster, l.cluster, pods),
	}
}

func (l layout) nodePortMatches() []string {
	if len(l.nodePorts) == 0 {
		return []string{"fib daddr type local"}
	}
	var out []string
	for _, p := range l.nodePorts {
		out = append(out, "fib daddr type local ip daddr "+p.String())
	}
	return out
}

// anchorName is the interface that holds the gateway's address.
func anchorName(instance string) string { return instance + "0" }

// podPrefix begins the names of the instance's pod interfaces. No other instance's
// name begins so, for instances have no dash in their names.
func podPrefix(instance string) string { return instance + "-" }
