package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Words of what clients of other versions of the API asked for.
const (
	macDeprecated    = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
	driverIgnored    = "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
	endpointSysctls  = "com.docker.network.endpoint.sysctls"
	ambiguousNetwork = "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
)

// adaptCreate gives a request what a client of its version means: what is younger
// than the version is left out or refused, what is older is put where it is today.
// raw is the body, for fields that the request's type has no more.
func adaptCreate(r *route.Request, req *container.CreateRequest, raw []byte, cgroupVersion int) (warnings []string, err error) {
	h, n := req.HostConfig, req.NetworkingConfig
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = network.NetworkBridge
		if ep, ok := n.EndpointsConfig[network.NetworkDefault]; ok {
			delete(n.EndpointsConfig, network.NetworkDefault)
			n.EndpointsConfig[network.NetworkBridge] = ep
		}
	}
	adaptHost(r, h, cgroupVersion)
	if r.Before("1.44") && req.Healthcheck != nil {
		req.Healthcheck.StartInterval = 0
	}
	if err := adaptMounts(r, h.Mounts); err != nil {
		return nil, err
	}
	if err := adaptEndpoints(r, n.EndpointsConfig); err != nil {
		return nil, err
	}
	if r.Since("1.48") && ignoresDriver(h) {
		warnings = append(warnings, driverIgnored)
	}
	for _, adapt := range []func() (string, error){
		func() (string, error) { return adaptRemoved(r, req, raw) },
		func() (string, error) { return moveSysctls(r, h, n) },
		func() (string, error) { return fillBindings(r, h), nil },
	} {
		warning, err := adapt()
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

func adaptHost(r *route.Request, h *container.HostConfig, cgroupVersion int) {
	if r.Before("1.40") && h.IpcMode.IsEmpty() {
		h.IpcMode = container.IPCModeShareable
	}
	if r.Before("1.41") && h.CgroupnsMode.IsEmpty() && cgroupVersion != 2 {
		h.CgroupnsMode = container.CgroupnsModeHost
	}
	if r.Before("1.42") {
		h.ConsoleSize = [2]uint{}
	}
	if r.Before("1.43") {
		h.Annotations = nil
	}
	if r.Before("1.56") {
		h.Umask = nil
	}
}

func adaptMounts(r *route.Request, mounts []mount.Mount) error {
	for i := range mounts {
		m := &mounts[i]
		if b := m.BindOptions; b != nil {
			b.NonRecursive = b.NonRecursive && r.Since("1.40")
			b.CreateMountpoint = b.CreateMountpoint && r.Since("1.42")
		}
		if err := adaptOptions(r, m); err != nil {
			return err
		}
		switch {
		case r.Before("1.44") && m.Type == mount.TypeBind && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
			return route.Invalidf("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
		case r.Before("1.45") && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
			return route.Invalidf("VolumeOptions.Subpath needs API v1.45 or newer")
		case r.Before("1.48") && m.Type == mount.TypeImage:
			return route.Invalidf(`Mount type "Image" needs API v1.48 or newer`)
		}
	}
	return nil
}

// adaptOptions refuses options of another type of mount, which versions before 1.42
// let pass.
func adaptOptions(r *route.Request, m *mount.Mount) error {
	foreign := func(has bool, of mount.Type, name string) error {
		if !has || m.Type == of {
			return nil
		}
		return route.Invalidf("%s must not be specified on mount type %q", name, m.Type)
	}
	if r.Before("1.42") {
		if m.Type != mount.TypeVolume {
			m.VolumeOptions = nil
		}
		if m.Type != mount.TypeTmpfs {
			m.TmpfsOptions = nil
		}
		return nil
	}
	for _, err := range []error{
		foreign(m.VolumeOptions != nil, mount.TypeVolume, "VolumeOptions"),
		foreign(m.BindOptions != nil, mount.TypeBind, "BindOptions"),
		foreign(m.TmpfsOptions != nil, mount.TypeTmpfs, "TmpfsOptions"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func adaptEndpoints(r *route.Request, all map[string]*network.EndpointSettings) error {
	if r.Before("1.44") && len(all) > 1 {
		names := slices.Sorted(maps.Keys(all))
		return route.Invalidf("Container cannot be created with multiple network endpoints: %s", strings.Join(names, ", "))
	}
	for _, ep := range all {
		if ep != nil && r.Before("1.48") {
			ep.GwPriority = 0
		}
	}
	return nil
}

// ignoresDriver tells that VolumeDriver is given where Mounts have volumes of no
// driver, for which it does not count.
func ignoresDriver(h *container.HostConfig) bool {
	return h.VolumeDriver != "" && slices.ContainsFunc(h.Mounts, func(m mount.Mount) bool {
		o := m.VolumeOptions
		return m.Type == mount.TypeVolume && (o == nil || o.DriverConfig == nil || o.DriverConfig.Name == "")
	})
}

// adaptRemoved reads the fields that version 1.52 has no more.
func adaptRemoved(r *route.Request, req *container.CreateRequest, raw []byte) (warning string, err error) {
	if r.Since("1.52") {
		return "", nil
	}
	var old struct {
		MacAddress network.HardwareAddr
		HostConfig struct{ Capabilities []string }
	}
	if json.Unmarshal(raw, &old) != nil {
		old.MacAddress = nil // what is none is left out, as ever
	}
	if len(old.HostConfig.Capabilities) > 0 && r.Version == "1.40" {
		return "", route.Invalidf("the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities")
	}
	return moveMAC(r, req, old.MacAddress)
}

// moveMAC puts the container-wide address into the endpoint of the network mode.
func moveMAC(r *route.Request, req *container.CreateRequest, mac network.HardwareAddr) (warning string, err error) {
	mode, n := req.HostConfig.NetworkMode, req.NetworkingConfig
	named := mode.IsBridge() || mode.IsUserDefined()
	if r.Before("1.44") {
		if len(mac) == 0 {
			for _, ep := range n.EndpointsConfig {
				if ep != nil {
					ep.MacAddress = nil
				}
			}
			return "", nil
		}
		if !named {
			return "", route.Invalidf("conflicting options: mac-address and the network mode")
		}
		ep, err := endpointOfMode(r, mode, n)
		if err != nil {
			return "", err
		}
		ep.MacAddress = mac
		return "", nil
	}
	if len(mac) == 0 {
		return "", nil
	}
	if named {
		ep, err := endpointOfMode(r, mode, n)
		if err != nil {
			return "", fmt.Errorf("unable to migrate container-wide MAC address to a specific network: %w", err)
		}
		switch {
		case len(ep.MacAddress) == 0:
			ep.MacAddress = mac
		case !slices.Equal(ep.MacAddress, mac):
			return "", route.Invalidf("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
		}
	}
	return macDeprecated, nil
}

// endpointOfMode is the endpoint that what concerns the whole container is meant for.
func endpointOfMode(r *route.Request, mode container.NetworkMode, n *network.NetworkingConfig) (*network.EndpointSettings, error) {
	name := mode.NetworkName()
	if len(n.EndpointsConfig) == 0 {
		n.EndpointsConfig = map[string]*network.EndpointSettings{name: {}}
	}
	if r.Before("1.44") {
		for only := range n.EndpointsConfig {
			name = only
		}
	}
	ep, ok := n.EndpointsConfig[name]
	if !ok {
		return nil, route.Invalid(errors.New(ambiguousNetwork))
	}
	if ep == nil {
		ep = &network.EndpointSettings{}
		n.EndpointsConfig[name] = ep
	}
	return ep, nil
}

// moveSysctls puts settings of the interface eth0 among those of the network of the
// mode: which interface will have which name is not known when sysctls are set.
func moveSysctls(r *route.Request, h *container.HostConfig, n *network.NetworkingConfig) (warning string, err error) {
	if !h.NetworkMode.IsPrivate() {
		return "", nil
	}
	var moved, names []string
	var ep *network.EndpointSettings
	for _, k := range slices.Sorted(maps.Keys(h.Sysctls)) {
		part := strings.SplitN(k, ".", 5)
		if len(part) != 5 || part[0] != "net" || !strings.HasPrefix(part[3], "eth") {
			continue
		}
		if r.Since("1.48") {
			return "", fmt.Errorf("interface specific sysctl setting %q must be supplied using driver option '%s'", k, endpointSysctls)
		}
		if ep, err = endpointOfMode(r, h.NetworkMode, n); err != nil {
			return "", fmt.Errorf("unable to find a network for sysctl %s: %w", k, err)
		}
		if part[3] != "eth0" {
			return "", fmt.Errorf("unable to determine network endpoint for sysctl %s, use driver option '%s' to set per-interface sysctls", k, endpointSysctls)
		}
		names = append(names, k)
		moved = append(moved, fmt.Sprintf("net.%s.%s.IFNAME.%s=%s", part[1], part[2], part[4], h.Sysctls[k]))
	}
	if ep == nil {
		return "", nil
	}
	option := strings.Join(moved, ",")
	warning = fmt.Sprintf("Migrated sysctl %q to DriverOpts{%q:%q}.", strings.Join(names, ","), endpointSysctls, option)
	if had, ok := ep.DriverOpts[endpointSysctls]; ok {
		option += "," + had
	}
	if ep.DriverOpts == nil {
		ep.DriverOpts = map[string]string{}
	}
	ep.DriverOpts[endpointSysctls] = option
	for _, k := range names {
		delete(h.Sysctls, k)
	}
	return warning, nil
}

// fillBindings makes one binding of any port of an empty list of them.
func fillBindings(r *route.Request, h *container.HostConfig) (warning string) {
	var empty []string
	for port, bindings := range h.PortBindings {
		if len(bindings) > 0 {
			continue
		}
		if r.Since("1.52") {
			empty = append(empty, port.String())
		}
		h.PortBindings[port] = []network.PortBinding{{}}
	}
	if len(empty) == 0 {
		return ""
	}
	slices.Sort(empty)
	return fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Such bindings will be discarded in a future version.", strings.Join(empty, ", "))
}
