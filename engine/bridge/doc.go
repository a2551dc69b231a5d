// Package bridge is the container engine's networks on one machine, as Docker has
// them: the default bridge, host and none, bridges that users make, addresses,
// published ports and names. It knows containers by their ids and the paths of their
// network namespaces; engine/dockerapi's areas containers and networks are its
// callers, kernel/link, kernel/nft and kernel/netns its tools. Manager decides and
// keeps the state (one writer: the files below Options.Dir); machine is what it has
// done, by the kernel or, in NewFake, not at all.
//
// # On the machine
//
// A network is a Linux bridge (Docker's names: docker0 where it is free, br-ID), a
// connection a veth pair of which one end is a port of the bridge. Everything else is
// in two nftables tables of the instance, INSTANCE-networks of the families ip and
// ip6: fixed chains that look into sets and maps, and elements that come and go with
// networks and containers (rules.go). The kernel goes on while this process does not
// run; names, and clients that a relay serves, wait for the next one, which finds all
// of it by its records (Restore). What is made is written down before, so a process
// that is killed in between leaves nothing that the next does not take away.
//
// # Published ports and the host's firewall
//
// A program that listens on a port of the host gets what the host's rules in the
// input hook let through. Docker translates the destination before routing: such
// packets are forwarded, input never sees them, and a rule "drop port 8080" there does
// nothing (moby#22054). Here the first packet of a connection meets both hooks, with
// the interface that it came by:
//
//	prerouting   not translated: the client is not admitted yet
//	input        the host's rules judge it: interface, client, host address and port
//	input-end    after them (priority 2000000000): the client is noted in "admitted"
//	             for 5 s, a copy leaves by the interface's turn, the original ends
//	             here, and with it its tracking
//	the turn     (link.Bridges.Turn) brings the copy in again where it came from
//	prerouting   now it is admitted, and its destination translated
//	forward      the host's rules judge it again: interfaces, the container's address
//	             and port, and "ct original proto-dst" for the host's
//
// The tracked connection carries all further packets past prerouting's translation to
// forward alone, at no cost. The copy passes the output and postrouting hooks on the
// way to its turn, untracked, with the client as source. Its time to live is one less,
// and a first UDP packet that does not fit into the network is answered with
// "fragmentation needed". If a turn is not there (an interface beyond 64, a pod's), or
// the kernel cannot make one, the packet ends where a program's would: at a socket of
// this process, which hands the stream over (relay.go); so do [::1], and IPv6 clients
// of a container without IPv6. What the machine itself sends to a published port is
// translated in the output hook; its input rules are not asked about that.
// Options.IgnoreHostFirewall gives Docker's way.
//
// Nobody outside reaches an address of a container itself but by a published port, and
// no container one of another network; who may, by whatever rule here, may still be
// stopped by any other table: accepting ends only the own chain.
package bridge
