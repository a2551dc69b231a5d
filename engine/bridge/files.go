package bridge

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// resolverAddress is where a container in a user's network asks for names.
const resolverAddress = "127.0.0.11"

// Where the machine keeps its own, in the order in which they are looked at: with
// systemd-resolved the first names that resolver alone, and the second the servers
// behind it.
var (
	resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
	hostsFile   = "/etc/hosts"
)

// fallback is what Docker lets containers ask when the machine names no server that
// they could reach.
var fallback = []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}

// Files implements Networks.
func (m *Manager) Files(_ context.Context, container string) (*Files, error) {
	s := m.locked(container)
	if s == nil {
		return nil, notFound("container %s is not connected to a network", container)
	}
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.Ends, func(c *end) bool { return c.NetworkName == NameHost }) {
		return m.hostFiles(s)
	}
	conf, err := readResolvConf(resolvConfs)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Files{Hosts: m.hosts(s), ResolvConf: s.resolvConf(conf)}, nil
}

// hostFiles are for a container in the machine's own network.
func (m *Manager) hostFiles(s *sandbox) (*Files, error) {
	hosts, err := os.ReadFile(hostsFile)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(hosts)
	if len(hosts) > 0 && hosts[len(hosts)-1] != '\n' {
		b.WriteByte('\n')
	}
	for _, h := range s.ExtraHosts {
		ip := h.IP
		if !ip.IsValid() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		fmt.Fprintf(&b, "%s\t%s\n", ip, h.Name)
	}
	conf, err := readResolvConf(resolvConfs[:1])
	if err != nil {
		return nil, err
	}
	return &Files{Hosts: b.Bytes(), ResolvConf: s.override(conf).text()}, nil
}

const hostsHead = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// hosts is the content of /etc/hosts. Both locks are held.
func (m *Manager) hosts(s *sandbox) []byte {
	b := bytes.NewBufferString(hostsHead)
	gateway := m.hostGateway(s)
	for _, h := range s.ExtraHosts {
		if ip := h.IP; ip.IsValid() {
			fmt.Fprintf(b, "%s\t%s\n", ip, h.Name)
		} else if gateway.IsValid() {
			fmt.Fprintf(b, "%s\t%s\n", gateway, h.Name)
		}
	}
	for _, c := range s.Ends {
		if c.NetworkName != NameBridge {
			continue // others resolve links by DNS
		}
		for _, l := range c.Links {
			if to := m.linked(c.NetworkID, l.Container); to != nil && to.IPv4.IsValid() {
				names := []string{l.Alias}
				for _, n := range []string{to.Container[:12], to.Name} {
					if !slices.Contains(names, n) {
						names = append(names, n)
					}
				}
				fmt.Fprintf(b, "%s\t%s\n", to.IPv4.Addr(), strings.Join(names, " "))
			}
		}
	}
	name := s.Hostname
	if s.Domainname != "" {
		name = s.Hostname + "." + s.Domainname + " " + s.Hostname
	}
	for _, c := range s.Ends {
		for _, a := range []netip.Prefix{c.IPv4, c.IPv6} {
			if a.IsValid() && name != "" {
				fmt.Fprintf(b, "%s\t%s\n", a.Addr(), name)
			}
		}
	}
	return b.Bytes()
}

// hostGateway is the host as the container sees it: the default network's gateway,
// as with Docker.
func (m *Manager) hostGateway(*sandbox) netip.Addr {
	for _, n := range m.networks {
		if n.Name == NameBridge && len(n.IPAM.Config) > 0 {
			return n.IPAM.Config[0].Gateway
		}
	}
	return netip.Addr{}
}

// linked finds a container in a network by name or by the beginning of its id.
func (m *Manager) linked(network, container string) *Attachment {
	n := m.networks[network]
	if n == nil {
		return nil
	}
	container = strings.TrimPrefix(container, "/")
	for _, a := range n.endpoints {
		if a.Name == container || (len(container) >= 12 && strings.HasPrefix(a.Container, container)) {
			return a
		}
	}
	return nil
}

// linksTo tells whether a link of the default bridge leads to another container.
func (s *sandbox) linksTo(other *sandbox) bool {
	for _, c := range s.Ends {
		for _, l := range c.Links {
			name := strings.TrimPrefix(l.Container, "/")
			if c.NetworkName == NameBridge && (name == other.Name || (len(name) >= 12 && strings.HasPrefix(other.Container, name))) {
				return true
			}
		}
	}
	return false
}

// resolvConf is a resolv.conf's content.
type resolvConf struct {
	servers []netip.Addr
	search  []string
	options []string
}

// maxResolvConf bounds what is read.
const maxResolvConf = 64 << 10

// readResolvConf reads the first file; if that names nothing but servers of the
// machine's own, the servers of the next.
func readResolvConf(paths []string) (resolvConf, error) {
	var first resolvConf
	for i, p := range paths {
		raw, err := os.ReadFile(p)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return resolvConf{}, err
		}
		c := parseResolvConf(raw[:min(len(raw), maxResolvConf)])
		if i == 0 {
			first = c
		}
		if len(c.outside()) > 0 {
			first.servers = c.servers
			break
		}
	}
	return first, nil
}

func parseResolvConf(raw []byte) resolvConf {
	var c resolvConf
	for _, line := range strings.Split(string(raw), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				c.servers = append(c.servers, a)
			}
		case "search", "domain":
			c.search = f[1:]
		case "options":
			c.options = append(c.options, f[1:]...)
		}
	}
	return c
}

// outside are the servers that a container could reach.
func (c resolvConf) outside() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(c.servers), func(a netip.Addr) bool { return a.IsLoopback() })
}

func (c resolvConf) text() []byte {
	var b bytes.Buffer
	b.WriteString("# Written by the container engine when the container began.\n\n")
	for _, a := range c.servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(c.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.search, " "))
	}
	if len(c.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.options, " "))
	}
	b.WriteString("\n# What it does not say is as in the host's /etc/resolv.conf.\n")
	return b.Bytes()
}

// override puts the container's own settings in the place of the machine's.
func (s *sandbox) override(c resolvConf) resolvConf {
	if len(s.DNS) > 0 {
		c.servers = s.DNS
	}
	if len(s.DNSSearch) > 0 {
		c.search = s.DNSSearch
	}
	if slices.Equal(s.DNSSearch, []string{"."}) {
		c.search = nil
	}
	if len(s.DNSOptions) > 0 {
		c.options = s.DNSOptions
	}
	return c
}

// resolvConf is the container's: with a user's network the embedded resolver, else
// servers that it reaches itself.
func (s *sandbox) resolvConf(host resolvConf) []byte {
	c := s.override(host)
	switch {
	case s.embedded():
		c.servers = []netip.Addr{netip.MustParseAddr(resolverAddress)}
		if !slices.ContainsFunc(c.options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
			c.options = append(slices.Clone(c.options), "ndots:0")
		}
	case len(s.DNS) == 0:
		if c.servers = c.outside(); len(c.servers) == 0 {
			c.servers = fallback
		}
	}
	return c.text()
}

// embedded tells whether the container is in a user's network.
func (s *sandbox) embedded() bool {
	return slices.ContainsFunc(s.Ends, func(c *end) bool { return c.DNSNames != nil })
}
