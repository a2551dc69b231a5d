package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// endpoints are the networks that a new container asks for: those of
// NetworkingConfig, or where it names none that of its mode.
func endpoints(c *container.Config, h *container.HostConfig, n *network.NetworkingConfig) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	if h.NetworkMode.IsContainer() || c.NetworkDisabled {
		return out
	}
	for name, ep := range n.EndpointsConfig {
		out[name] = ep
	}
	if mode := h.NetworkMode.NetworkName(); len(out) == 0 || h.NetworkMode.IsUserDefined() && out[mode] == nil {
		out[mode] = &network.EndpointSettings{}
	}
	return out
}

// checkEndpoints refuses what no network can give.
func (a *Area) checkEndpoints(ctx context.Context, n *network.NetworkingConfig) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(n.EndpointsConfig)) {
		ep := n.EndpointsConfig[name]
		if ep == nil {
			errs = append(errs, fmt.Errorf("invalid config for network %s: EndpointsConfig is nil", name))
			continue
		}
		var of *bridge.Network
		if a.o.Networks != nil {
			of, _ = a.o.Networks.Get(ctx, name) // one that is not there yet is for the start
		}
		if err := checkEndpoint(name, of, ep); err != nil {
			errs = append(errs, fmt.Errorf("invalid config for network %s: %w", name, err))
		}
	}
	return route.Invalid(bullets(errs))
}

// bullets are several errors as Docker lists them.
func bullets(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	var b strings.Builder
	for i, err := range errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("* " + strings.ReplaceAll(err.Error(), "\n", "\n\t"))
	}
	return errors.New(b.String())
}

// checkEndpoint refuses settings that the network, nil where it is not known, cannot
// have.
func checkEndpoint(name string, of *bridge.Network, ep *network.EndpointSettings) error {
	c := ep.IPAMConfig
	if c == nil {
		c = &network.EndpointIPAMConfig{}
	}
	var errs []error
	bad := func(is bool, format string, a ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	if !container.NetworkMode(name).IsUserDefined() {
		bad(c.IPv4Address.IsValid() || c.IPv6Address.IsValid(), "user-specified IP address is supported on user-defined networks only")
		bad(len(ep.Aliases) > 0, "network-scoped aliases are only supported for user-defined networks")
	}
	v4, v6 := c.IPv4Address, c.IPv6Address
	bad(v4.IsValid() && (!v4.Unmap().Is4() || v4.IsUnspecified()), "invalid IPv4 address: %s", v4)
	bad(v6.IsValid() && (!v6.Is6() || v6.Is4In6() || v6.IsUnspecified() || v6.Zone() != ""), "invalid IPv6 address: %s", v6)
	for _, ip := range c.LinkLocalIPs {
		bad(!ip.IsValid() || ip.IsUnspecified(), "invalid link-local IP address: %s", ip)
	}
	c.IPv4Address = v4.Unmap()
	if of != nil {
		for _, ip := range []netip.Addr{c.IPv4Address, c.IPv6Address} {
			bad(ip.IsValid() && !inSubnets(of, ip), "no configured subnet contains IP address %s", ip)
		}
	}
	if all, ok := ep.DriverOpts[endpointSysctls]; ok {
		for _, s := range strings.Split(all, ",") {
			_, err := interfaceSysctl(s)
			bad(err != nil, "%s", err)
		}
	}
	if len(errs) > 0 {
		return route.Invalid(fmt.Errorf("invalid endpoint settings:\n%w", bullets(errs)))
	}
	return nil
}

func inSubnets(n *bridge.Network, ip netip.Addr) bool {
	return slices.ContainsFunc(n.IPAM.Config, func(p bridge.Pool) bool { return p.Subnet.Contains(ip) })
}

// interfaceSysctl reads a setting of a container's interface, "net.X.Y.IFNAME.Z=V",
// into the parts around the interface's name.
func interfaceSysctl(s string) (part [5]string, err error) {
	f := strings.SplitN(s, ".", 5)
	if len(f) != 5 || !slices.Contains([]string{"ipv4", "ipv6", "mpls"}, f[1]) || !strings.EqualFold(f[3], "IFNAME") {
		return part, fmt.Errorf("unrecognised network interface sysctl '%s'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'", s)
	}
	return [5]string(f), nil
}

// sandboxSpec is the sandbox of a run.
func (a *Area) sandboxSpec(v *view) engine.SandboxSpec {
	h := v.HostConfig
	name := v.Config.Hostname
	if c, err := a.find(h.NetworkMode.ConnectedContainer()); err == nil {
		name = c.rec.Config.Hostname // that of whose network it is in
	}
	s := engine.SandboxSpec{
		ID: v.ID, Hostname: name, Labels: map[string]string{Mine: ""}, CgroupParent: cgroupParent(h),
		HostNetwork: h.NetworkMode.IsHost(), HostIPC: h.IpcMode.IsHost(), HostPID: h.PidMode.IsHost(), UTS: "private",
		NetOf: h.NetworkMode.ConnectedContainer(), IPCOf: h.IpcMode.Container(), SHMSize: h.ShmSize, NoSHM: h.IpcMode.IsNone(),
	}
	if h.UTSMode.IsHost() {
		s.UTS = "host"
	}
	return s
}

// cgroupParent is a group below the engine's own, whatever is asked for.
func cgroupParent(h *container.HostConfig) string {
	if p := strings.Trim(h.CgroupParent, "/"); p != "" && !slices.Contains(strings.Split(p, "/"), "..") {
		return "docker/" + p
	}
	return "docker"
}

// connect joins a run's namespace to the networks that the container asks for.
func (a *Area) connect(ctx context.Context, v *view, netns string) error {
	if v.HostConfig.NetworkMode.IsContainer() || v.Config.NetworkDisabled || a.o.Networks == nil {
		return nil
	}
	ports, err := wantedPorts(v)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(v.Endpoints))
	for name := range v.Endpoints {
		names = append(names, name)
	}
	// The network of the mode is the first, and so has the first interface.
	slices.SortFunc(names, func(x, y string) int {
		first := string(v.HostConfig.NetworkMode)
		switch {
		case x == first:
			return -1
		case y == first:
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		if name == network.NetworkNone || name == network.NetworkHost {
			if netns == "" && name == network.NetworkNone {
				continue
			}
		}
		e, err := a.endpoint(v, v.Endpoints[name], netns)
		if err != nil {
			return err
		}
		e.Ports = ports
		at, err := a.o.Networks.Connect(ctx, name, e)
		if err != nil {
			return errors.Join(fmt.Errorf("failed to set up container networking: %w", err), a.leave(ctx, v.ID))
		}
		if err := a.keepEndpoint(v.ID, name, at); err != nil {
			return errors.Join(err, a.leave(ctx, v.ID))
		}
	}
	return a.writeHosts(ctx, v)
}

// keepEndpoint notes what inspect still shows of a connection when it is over.
func (a *Area) keepEndpoint(id, name string, at *bridge.Attachment) error {
	c, err := a.find(id)
	if err != nil {
		return err
	}
	return a.change(c, func() {
		ep := c.rec.Endpoints[name].Copy()
		if ep == nil {
			return // it was disconnected meanwhile
		}
		ep.NetworkID, ep.DNSNames = at.NetworkID, at.DNSNames
		c.rec.Endpoints = withEndpoint(c.rec.Endpoints, name, ep)
	})
}

func (a *Area) leave(ctx context.Context, id string) error {
	if a.o.Networks == nil {
		return nil
	}
	return a.o.Networks.Leave(context.WithoutCancel(ctx), id)
}

// endpoint is what a container asks of one network.
func (a *Area) endpoint(v *view, ep *network.EndpointSettings, netns string) (bridge.Endpoint, error) {
	h := v.HostConfig
	e := bridge.Endpoint{
		Container: v.ID, Name: v.Name, NetNS: netns, Aliases: ep.Aliases, MAC: net.HardwareAddr(ep.MacAddress), Priority: ep.GwPriority,
		Options: ep.DriverOpts, Hostname: v.Config.Hostname, Domainname: v.Config.Domainname,
		DNS: h.DNS, DNSSearch: h.DNSSearch, DNSOptions: h.DNSOptions,
	}
	if c := ep.IPAMConfig; c != nil {
		e.IPv4, e.IPv6 = c.IPv4Address, c.IPv6Address
	}
	for i, l := range append(slices.Clone(h.Links), ep.Links...) {
		name, alias, err := parseLink(l)
		if err != nil {
			return e, err
		}
		target, err := a.find(name)
		if err != nil {
			return e, err
		}
		if i < len(h.Links) && !a.view(target).running {
			return e, route.Internalf("Cannot link to a non running container: /%s AS /%s/%s", target.rec.Name, v.Name, alias)
		}
		e.Links = append(e.Links, bridge.Link{Container: target.rec.ID, Alias: alias})
	}
	for _, x := range h.ExtraHosts {
		name, ip, _ := strings.Cut(x, ":")
		host := bridge.Host{Name: name}
		if ip != hostGateway {
			var err error
			if host.IP, err = netip.ParseAddr(ip); err != nil {
				return e, route.Invalidf("invalid IP address in add-host: %q", ip)
			}
		}
		e.ExtraHosts = append(e.ExtraHosts, host)
	}
	return e, nil
}

// wantedPorts are the ports to publish.
func wantedPorts(v *view) ([]bridge.Port, error) {
	h := v.HostConfig
	var out []bridge.Port
	for p, bindings := range h.PortBindings {
		for _, b := range bindings {
			from, to, err := hostPorts(b.HostPort)
			if err != nil {
				return nil, err
			}
			out = append(out, bridge.Port{Protocol: bridge.Protocol(p.Proto()), Container: p.Num(), HostIP: b.HostIP, First: from, Last: to})
		}
	}
	if h.PublishAllPorts {
		for p := range v.Config.ExposedPorts {
			if len(h.PortBindings[p]) == 0 {
				out = append(out, bridge.Port{Protocol: bridge.Protocol(p.Proto()), Container: p.Num()})
			}
		}
	}
	slices.SortFunc(out, func(x, y bridge.Port) int { return int(x.Container) - int(y.Container) })
	return out, nil
}

// etcFiles are the files of the container's /etc that are ours.
var etcFiles = []string{"hostname", "hosts", "resolv.conf"}

// writeHosts writes the container's name, hosts and resolvers, in place: they are
// mounted in running containers.
func (a *Area) writeHosts(ctx context.Context, v *view) error {
	dir := a.dir(v.ID)
	name := v.Config.Hostname
	files := &bridge.Files{}
	var err error
	if a.o.Networks != nil {
		files, err = a.o.Networks.Files(ctx, v.ID)
	}
	if err != nil || files == nil {
		files = &bridge.Files{}
	}
	if len(files.ResolvConf) == 0 {
		if files.ResolvConf, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if len(files.Hosts) == 0 {
		files.Hosts = plainHosts(v)
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{"hostname", []byte(name + "\n")}, {"hosts", files.Hosts}, {"resolv.conf", files.ResolvConf}} {
		p := filepath.Join(dir, f.name)
		if err := os.WriteFile(p, f.text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plainHosts is /etc/hosts of a container that no network has given one.
func plainHosts(v *view) []byte {
	b := []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	if v.HostConfig.NetworkMode.IsHost() {
		if host, err := os.ReadFile("/etc/hosts"); err == nil {
			b = host
		}
	}
	for _, x := range v.HostConfig.ExtraHosts {
		if name, ip, ok := strings.Cut(x, ":"); ok && ip != hostGateway {
			b = append(b, ip+"\t"+name+"\n"...)
		}
	}
	return b
}

// settings are what inspect shows of a container's networks.
func (a *Area) settings(ctx context.Context, v *view) (map[string]*network.EndpointSettings, network.PortMap, error) {
	nets := map[string]*network.EndpointSettings{}
	ports := network.PortMap{}
	for name, ep := range v.Endpoints {
		nets[name] = ep.Copy()
	}
	if a.o.Networks == nil {
		return nets, ports, nil
	}
	have, bound, err := a.o.Networks.Attached(ctx, v.ID)
	if err != nil {
		return nil, nil, err
	}
	for name, at := range have {
		ep := nets[name]
		if ep == nil {
			ep = &network.EndpointSettings{}
			nets[name] = ep
		}
		ep.NetworkID, ep.EndpointID, ep.MacAddress = at.NetworkID, at.EndpointID, network.HardwareAddr(at.MAC)
		ep.Gateway, ep.IPv6Gateway, ep.DNSNames = at.Gateway4, at.Gateway6, at.DNSNames
		if at.IPv4.IsValid() {
			ep.IPAddress, ep.IPPrefixLen = at.IPv4.Addr(), at.IPv4.Bits()
		}
		if at.IPv6.IsValid() {
			ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen = at.IPv6.Addr(), at.IPv6.Bits()
		}
	}
	if !v.running {
		return nets, ports, nil
	}
	if len(have) > 0 && v.HostConfig.NetworkMode.IsPrivate() && !v.HostConfig.NetworkMode.IsNone() {
		for p := range v.Config.ExposedPorts {
			ports[p] = nil
		}
	}
	for _, b := range bound {
		p, ok := network.PortFrom(b.Container, network.IPProtocol(b.Protocol))
		if ok {
			ports[p] = append(ports[p], network.PortBinding{HostIP: b.HostIP, HostPort: fmt.Sprint(b.HostPort)})
		}
	}
	for _, list := range ports {
		slices.SortFunc(list, func(x, y network.PortBinding) int { return x.HostIP.Compare(y.HostIP) })
	}
	return nets, ports, nil
}
