package bridge

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// predefine makes the networks that are always there, where they are not yet.
func (m *Manager) predefine() error {
	have := map[string]bool{}
	for _, n := range m.networks {
		have[n.Name] = true
	}
	for _, p := range []struct{ name, driver string }{{NameBridge, DriverBridge}, {NameHost, DriverHost}, {NameNone, DriverNull}} {
		if have[p.name] {
			continue
		}
		n := &network{Network: Network{
			ID: newID(), Name: p.name, Driver: p.driver, Created: time.Now().UTC(), IPv4: true,
			IPAM: IPAM{Driver: "default"}, Options: map[string]string{}, Labels: map[string]string{},
		}, endpoints: map[string]*Attachment{}}
		if p.driver == DriverBridge {
			if err := m.predefineBridge(n); err != nil {
				return fmt.Errorf("default network: %w", err)
			}
		}
		if err := m.store.saveNetwork(&n.Network); err != nil {
			return err
		}
		m.networks[n.ID] = n
	}
	return nil
}

// predefineBridge settles the default network's addresses and the name of its
// interface.
func (m *Manager) predefineBridge(n *network) error {
	name := m.o.Bridge
	if name != "" {
		free, err := m.machine.free(name)
		if err != nil {
			return err
		}
		if !free {
			name = ""
		}
	}
	if name == "" {
		name = linkPrefix(m.o.Instance) + "0"
	}
	n.Options = map[string]string{
		optionDefault: "true", optionICC: "true", optionMasquerade: "true",
		optionHostBinding: netip.IPv4Unspecified().String(), optionName: name, optionMTU: strconv.Itoa(defaultMTU),
	}
	routes, err := m.machine.routes()
	if err == nil {
		n.config, err = parseOptions(n.Options)
	}
	if err == nil {
		err = m.address(n, routes)
	}
	return err
}

// linkPrefix begins the names of the instance's interfaces, but of users' bridges. No
// other instance's name begins so, and no pod's interface.
func linkPrefix(instance string) string { return instance + "_" }
