package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Container is what distinguishes one container of a service from its siblings.
type Container struct {
	Name    string
	Number  int
	ImageID string
	// Replaces is the name of the container whose place this one takes.
	Replaces string
	// Inherit are anonymous volumes of that container, by mount point.
	Inherit map[string]string
	// OneOff marks containers of `run`; Slug is its random name part.
	OneOff, AutoRemove bool
	Slug               string
	// Beside is that the service's own containers are there: addresses that the
	// file gives are theirs.
	Beside bool
	// Aliases gives a one-off container the service's names nevertheless.
	Aliases   bool
	EnvFiles  []string
	Separator string
	// Resolve gives the identifier of a running or created container of a
	// service, for shared namespaces, volumes and links.
	Resolve func(service string) (id, name string, err error)
}

// Alias is the name that the container has among others: not the one under which it
// is made while that whose place it takes still has it.
func (c Container) Alias() string {
	if c.Replaces != "" {
		return c.Replaces
	}
	return c.Name
}

// Create is the request that makes c, and the networks beyond the first that it
// joins afterwards, in order.
func Create(p *types.Project, s types.ServiceConfig, c Container) (client.ContainerCreateOptions, error) {
	var none client.ContainerCreateOptions
	hash, err := Hash(s)
	if err != nil {
		return none, err
	}
	host, err := hostConfig(p, s, c)
	if err != nil {
		return none, fmt.Errorf("service %q: %w", s.Name, err)
	}
	endpoints, err := Endpoints(p, s, c)
	if err != nil {
		return none, fmt.Errorf("service %q: %w", s.Name, err)
	}
	exposed, bindings, err := ports(s)
	if err != nil {
		return none, fmt.Errorf("service %q: %w", s.Name, err)
	}
	host.PortBindings = bindings
	config := &container.Config{
		Hostname: s.Hostname, Domainname: s.DomainName, User: s.User,
		ExposedPorts: exposed,
		Tty:          s.Tty, OpenStdin: s.StdinOpen, StdinOnce: c.OneOff && s.StdinOpen,
		AttachStdin: c.OneOff && s.StdinOpen, AttachStdout: true, AttachStderr: true,
		Env: Env(s.Environment), Cmd: s.Command, Entrypoint: s.Entrypoint,
		Image: Image(p.Name, s, c.Separator), WorkingDir: s.WorkingDir,
		Labels: labels(p, s, c, hash), StopSignal: s.StopSignal,
		Healthcheck: health(s.HealthCheck),
		Volumes:     anonymous(s, c),
	}
	if s.StopGracePeriod != nil {
		seconds := int(time.Duration(*s.StopGracePeriod).Round(time.Second) / time.Second)
		config.StopTimeout = &seconds
	}
	options := client.ContainerCreateOptions{Name: c.Name, Config: config, HostConfig: host, NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: endpoints}}
	if s.Platform != "" {
		platform, err := platforms.Parse(s.Platform)
		if err != nil {
			return none, fmt.Errorf("service %q: platform %q: %w", s.Name, s.Platform, err)
		}
		options.Platform = &platform
	}
	return options, nil
}

// Env is an environment as the API wants it; variables without a value that the
// host does not have are left out.
func Env(m types.MappingWithEquals) []string {
	var env []string
	for k, v := range m {
		if v != nil {
			env = append(env, k+"="+*v)
		}
	}
	sort.Strings(env)
	return env
}

func health(h *types.HealthCheckConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	if h.Disable {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	out := &container.HealthConfig{Test: h.Test}
	for _, d := range []struct {
		from *types.Duration
		to   *time.Duration
	}{{h.Interval, &out.Interval}, {h.Timeout, &out.Timeout}, {h.StartPeriod, &out.StartPeriod}, {h.StartInterval, &out.StartInterval}} {
		if d.from != nil {
			*d.to = time.Duration(*d.from)
		}
	}
	if h.Retries != nil {
		out.Retries = int(*h.Retries)
	}
	return out
}

func ports(s types.ServiceConfig) (network.PortSet, network.PortMap, error) {
	exposed, bindings := network.PortSet{}, network.PortMap{}
	for _, e := range s.Expose {
		r, err := network.ParsePortRange(e)
		if err != nil {
			return nil, nil, fmt.Errorf("expose %q: %w", e, err)
		}
		for p := range r.All() {
			exposed[p] = struct{}{}
		}
	}
	for _, c := range s.Ports {
		if c.Target == 0 || c.Target > 65535 {
			return nil, nil, fmt.Errorf("port %d is not between 1 and 65535", c.Target)
		}
		proto := c.Protocol
		if proto == "" {
			proto = "tcp"
		}
		port, ok := network.PortFrom(uint16(c.Target), network.IPProtocol(proto))
		if !ok {
			return nil, nil, fmt.Errorf("port %d/%s is not one", c.Target, proto)
		}
		exposed[port] = struct{}{}
		b := network.PortBinding{HostPort: c.Published}
		if c.HostIP != "" {
			ip, err := netip.ParseAddr(c.HostIP)
			if err != nil {
				return nil, nil, fmt.Errorf("port %d: %w", c.Target, err)
			}
			b.HostIP = ip
		}
		bindings[port] = append(bindings[port], b)
	}
	return exposed, bindings, nil
}

// Endpoints are the networks of a container, with the names it has there.
func Endpoints(p *types.Project, s types.ServiceConfig, c Container) (map[string]*network.EndpointSettings, error) {
	if s.NetworkMode != "" {
		return nil, nil
	}
	links, err := linkNames(s, c)
	if err != nil {
		return nil, err
	}
	out := map[string]*network.EndpointSettings{}
	for key, n := range s.Networks {
		e := &network.EndpointSettings{Aliases: []string{c.Alias()}, Links: links}
		if (!c.OneOff || c.Aliases) && n.ServiceNameAliasEnabled() {
			e.Aliases = append(e.Aliases, s.Name)
		}
		if n != nil {
			if !c.OneOff || c.Aliases {
				e.Aliases = append(e.Aliases, n.Aliases...)
			}
			e.DriverOpts = n.DriverOpts
			if n.InterfaceName != "" {
				e.DriverOpts = mergeOption(n.DriverOpts, "com.docker.network.endpoint.ifname", n.InterfaceName)
			}
			e.GwPriority = n.GatewayPriority
			if !c.Beside {
				if err := address(e, n); err != nil {
					return nil, fmt.Errorf("network %q: %w", key, err)
				}
			}
		}
		mac := s.MacAddress
		if c.Beside {
			mac = ""
		} else if n != nil && n.MacAddress != "" {
			mac = n.MacAddress
		}
		if mac != "" {
			if err := e.MacAddress.UnmarshalText([]byte(mac)); err != nil {
				return nil, fmt.Errorf("network %q: mac_address: %w", key, err)
			}
		}
		out[p.Networks[key].Name] = e
	}
	return out, nil
}

func mergeOption(m map[string]string, k, v string) map[string]string {
	out := map[string]string{k: v}
	for name, value := range m {
		out[name] = value
	}
	return out
}

func address(e *network.EndpointSettings, n *types.ServiceNetworkConfig) error {
	ipam := &network.EndpointIPAMConfig{}
	set := false
	parse := func(text string, to *netip.Addr) error {
		if text == "" {
			return nil
		}
		a, err := netip.ParseAddr(text)
		*to, set = a, true
		return err
	}
	if err := parse(n.Ipv4Address, &ipam.IPv4Address); err != nil {
		return err
	}
	if err := parse(n.Ipv6Address, &ipam.IPv6Address); err != nil {
		return err
	}
	for _, text := range n.LinkLocalIPs {
		var a netip.Addr
		if err := parse(text, &a); err != nil {
			return err
		}
		ipam.LinkLocalIPs = append(ipam.LinkLocalIPs, a)
	}
	if set {
		e.IPAMConfig = ipam
	}
	return nil
}

// linkNames are links and external links as container:alias.
func linkNames(s types.ServiceConfig, c Container) ([]string, error) {
	var links []string
	for _, l := range s.Links {
		target, alias, given := strings.Cut(l, ":")
		if !given {
			alias = target
		}
		_, name, err := c.Resolve(target)
		if err != nil {
			return nil, fmt.Errorf("link %q: %w", l, err)
		}
		links = append(links, name+":"+alias)
	}
	for _, l := range s.ExternalLinks {
		target, alias, given := strings.Cut(l, ":")
		if !given {
			alias = target
		}
		links = append(links, target+":"+alias)
	}
	return links, nil
}

// FirstNetwork is the name of the network in which a container is born.
func FirstNetwork(p *types.Project, s types.ServiceConfig) string {
	if keys := s.NetworksByPriority(); len(keys) > 0 {
		return p.Networks[keys[0]].Name
	}
	return "none"
}

func networkMode(p *types.Project, s types.ServiceConfig, c Container) (container.NetworkMode, error) {
	if s.NetworkMode == "" {
		return container.NetworkMode(FirstNetwork(p, s)), nil
	}
	mode, err := shared(s.NetworkMode, c)
	return container.NetworkMode(mode), err
}

// shared turns service:NAME into container:ID and leaves everything else alone.
func shared(mode string, c Container) (string, error) {
	service, ok := strings.CutPrefix(mode, types.ServicePrefix)
	if !ok {
		return mode, nil
	}
	id, _, err := c.Resolve(service)
	if err != nil {
		return "", err
	}
	return types.ContainerPrefix + id, nil
}

func restartPolicy(s types.ServiceConfig) (container.RestartPolicy, error) {
	if s.Restart != "" {
		name, count, _ := strings.Cut(s.Restart, ":")
		policy := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
		if count != "" {
			n, err := strconv.Atoi(count)
			if err != nil {
				return policy, fmt.Errorf("restart %q: the count is not a number", s.Restart)
			}
			policy.MaximumRetryCount = n
		}
		return policy, nil
	}
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		return container.RestartPolicy{}, nil
	}
	d := s.Deploy.RestartPolicy
	policy := container.RestartPolicy{Name: container.RestartPolicyMode(map[string]string{
		"": "always", "any": "always", "none": "no", "on-failure": "on-failure",
	}[d.Condition])}
	if policy.Name == "" {
		policy.Name = container.RestartPolicyMode(d.Condition)
	}
	if d.MaxAttempts != nil && policy.Name == "on-failure" {
		policy.MaximumRetryCount = int(*d.MaxAttempts)
	}
	return policy, nil
}

// SharesWith are the services whose containers this one's refer to by identifier:
// when they are made anew, so is this one.
func SharesWith(s types.ServiceConfig) []string {
	var of []string
	for _, mode := range []string{s.NetworkMode, s.Ipc, s.Pid} {
		if name, ok := strings.CutPrefix(mode, types.ServicePrefix); ok {
			of = append(of, name)
		}
	}
	for _, v := range s.VolumesFrom {
		if name, _, _ := strings.Cut(v, ":"); name != "container" {
			of = append(of, name)
		}
	}
	slices.Sort(of)
	return slices.Compact(of)
}
