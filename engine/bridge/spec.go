package bridge

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	interfaceName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)
	// Docker takes any name; what no client could write in a path is refused here.
	networkName = regexp.MustCompile(`^[^/\pC]+$`)
)

// maxName bounds a network's name, which is in file names and answers.
const maxName = 255

// check refuses what no network can be made of, in Docker's order and words. It does
// not look at other networks.
func (s *Spec) check() error {
	switch {
	case s.Name == "" || strings.TrimSpace(s.Name) == "":
		return invalid("invalid name: name is empty")
	case len(s.Name) > maxName || !networkName.MatchString(s.Name):
		return invalid("invalid name: %q", s.Name)
	case s.Name == NameBridge || s.Name == NameHost || s.Name == NameNone || s.Name == "default":
		return forbidden("operation is not permitted on predefined %s network ", s.Name)
	case s.Ingress:
		return forbidden("Ingress network can only be global scope network")
	case s.Scope == "swarm" || s.Scope == "global":
		return forbidden("cannot create a swarm scoped network when swarm is not active")
	case s.Scope != "" && s.Scope != "local":
		return invalid("invalid scope %q", s.Scope)
	}
	switch s.Driver {
	case "", DriverBridge:
	case DriverHost, DriverNull:
		return forbidden("only one instance of %q network is allowed", s.Driver)
	case "overlay":
		return forbidden(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	default:
		return notFound("plugin %q not found", s.Driver)
	}
	if err := s.IPAM.check(); err != nil {
		return err
	}
	if s.ConfigOnly && s.ConfigFrom != "" {
		return forbidden("config-only network %q cannot have configuration from other network", s.Name)
	}
	if s.IPv4 != nil && !*s.IPv4 && (s.IPv6 == nil || !*s.IPv6) && !s.ConfigOnly {
		return invalid("IPv4 or IPv6 must be enabled")
	}
	return nil
}

func (i *IPAM) check() error {
	if i.Driver != "" && i.Driver != "default" && i.Driver != "null" {
		return notFound("plugin %q not found", i.Driver)
	}
	var bad []string
	for _, p := range i.Config {
		bad = append(bad, p.check()...)
	}
	if len(bad) > 0 {
		return invalid("invalid network config:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}

// check lists what is wrong with a pool.
func (p Pool) check() []string {
	var bad []string
	say := func(format string, a ...any) { bad = append(bad, fmt.Sprintf(format, a...)) }
	if p.Subnet.IsValid() && p.Subnet != p.Subnet.Masked() {
		say("invalid subnet %s: it should be %s", p.Subnet, p.Subnet.Masked())
	}
	if p.Subnet.Addr().Is4In6() {
		say("invalid subnet %s: not a range of IPv4 or IPv6", p.Subnet)
	}
	if p.Range.IsValid() {
		switch {
		case p.Range != p.Range.Masked():
			say("invalid ip-range %s: it should be %s", p.Range, p.Range.Masked())
		case !p.Subnet.IsValid() || !p.Subnet.Contains(p.Range.Addr()) || p.Range.Bits() < p.Subnet.Bits():
			say("invalid ip-range %s: parent subnet %s doesn't contain ip-range", p.Range, p.Subnet)
		}
	}
	if p.Gateway.IsValid() && !p.Subnet.Contains(p.Gateway) {
		say("invalid gateway %s: parent subnet %s doesn't contain this address", p.Gateway, p.Subnet)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		if a := p.Aux[name]; !p.Subnet.Contains(a) {
			say("invalid auxiliary address %s: parent subnet %s doesn't contain this address", a, p.Subnet)
		}
	}
	return bad
}

// CheckEndpoint refuses settings that a network cannot give a container, in Docker's
// words. It looks at what is asked for, not at what is free.
func (n *Network) CheckEndpoint(e *Endpoint) error {
	var bad []string
	user := !n.Predefined()
	if !user && (e.IPv4.IsValid() || e.IPv6.IsValid()) {
		bad = append(bad, "user-specified IP address is supported on user-defined networks only")
	}
	if !user && len(e.Aliases) > 0 {
		bad = append(bad, "network-scoped aliases are only supported for user-defined networks")
	}
	if user {
		for _, a := range []netip.Addr{e.IPv4, e.IPv6} {
			if a.IsValid() && !slices.ContainsFunc(n.IPAM.Config, func(p Pool) bool { return p.Subnet.Contains(a) }) {
				bad = append(bad, fmt.Sprintf("no configured subnet or ip-range contain the IP address %s", a))
			}
		}
	}
	if len(bad) > 0 {
		return invalid("invalid endpoint settings:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}

// DNSNames are the names by which others in a user's network find the container; the
// first is what its address leads back to.
func (e *Endpoint) DNSNames() []string {
	var out []string
	add := func(s string) {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	add(e.Name)
	for _, a := range e.Aliases {
		add(a)
	}
	add(e.Container[:min(12, len(e.Container))])
	add(e.Hostname)
	return out
}
