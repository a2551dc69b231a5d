package bridge

import (
	"net/netip"
	"strconv"
)

// Options of a bridge network that clients give. A name that is not here is kept
// for inspect and has no effect, as in Docker.
const (
	optionName        = "com.docker.network.bridge.name"
	optionICC         = "com.docker.network.bridge.enable_icc"
	optionMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	optionHostBinding = "com.docker.network.bridge.host_binding_ipv4"
	optionDefault     = "com.docker.network.bridge.default_bridge"
	optionMTU         = "com.docker.network.driver.mtu"
	optionPrefix      = "com.docker.network.container_iface_prefix"
)

// config is what a bridge network's options say.
type config struct {
	bridge     string // interface name; "" is made of the id
	mtu        int
	icc        bool // containers reach each other
	masquerade bool
	binding    netip.Addr // where ports without an address are published
	prefix     string     // of the interfaces inside containers
}

const defaultMTU = 1500

func parseOptions(o map[string]string) (config, error) {
	c := config{mtu: defaultMTU, icc: true, masquerade: true, prefix: "eth"}
	if v, ok := o[optionName]; ok {
		if v == "" || len(v) > 15 || !interfaceName.MatchString(v) {
			return c, invalid("invalid bridge name: %q", v)
		}
		c.bridge = v
	}
	if v, ok := o[optionPrefix]; ok {
		if len(v) > 12 || !interfaceName.MatchString(v) {
			return c, invalid("invalid interface prefix: %q", v)
		}
		c.prefix = v
	}
	if v, ok := o[optionMTU]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			return c, invalid("failed to parse %s value: %s (%v)", optionMTU, v, err)
		}
		if n < 0 || n > 65535 {
			return c, invalid("invalid MTU number: %d", n)
		}
		if n > 0 {
			c.mtu = n
		}
	}
	for name, to := range map[string]*bool{optionICC: &c.icc, optionMasquerade: &c.masquerade} {
		if v, ok := o[name]; ok {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return c, invalid("failed to parse %s value: %s (%v)", name, v, err)
			}
			*to = b
		}
	}
	if v, ok := o[optionHostBinding]; ok && v != "" {
		a, err := netip.ParseAddr(v)
		if err != nil || !a.Is4() {
			return c, invalid("failed to parse %s value: %s (invalid ip)", optionHostBinding, v)
		}
		if !a.IsUnspecified() {
			c.binding = a
		}
	}
	return c, nil
}
