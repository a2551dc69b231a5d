package containers

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi/route"
)

var (
	errShared = route.Invalid(errors.New("container sharing network namespace with another container or host cannot be connected to any other network"))
	errNone   = route.Invalid(errors.New("container cannot be connected to multiple networks with one of the networks in private (none) mode"))
)

// ConnectNetwork connects a container to a further network: one that runs at once,
// others when they start.
func (a *Area) ConnectNetwork(ctx context.Context, name string, n *bridge.Network, s *network.EndpointSettings) error {
	c, err := a.find(name)
	if err != nil {
		return err
	}
	if s == nil {
		s = &network.EndpointSettings{}
	}
	c.op.Lock()
	defer c.op.Unlock()
	v := a.view(c)
	switch mode := v.HostConfig.NetworkMode; {
	case v.removing:
		return route.Conflictf("container %s is marked for removal and cannot be connected or disconnected to the network", v.ID)
	case mode.IsContainer(), mode.IsHost(), n.Name == bridge.NameHost:
		return errShared
	case (mode.IsNone() && v.Endpoints[bridge.NameNone] != nil) || n.Name == bridge.NameNone:
		return errNone
	}
	if err := checkEndpoint(n.Name, n, s); err != nil {
		return err
	}
	if v.running {
		ports, err := wantedPorts(&v)
		if err != nil {
			return err
		}
		e, err := a.endpoint(&v, s, a.sandboxKey(ctx, v.ID))
		if err != nil {
			return err
		}
		e.Ports = ports
		if _, err := a.o.Networks.Connect(ctx, n.Name, e); err != nil {
			return err
		}
	}
	if err := a.commit(c, func() { c.rec.Endpoints = withEndpoint(c.rec.Endpoints, n.Name, s) }); err != nil {
		return err
	}
	if v.running {
		return a.writeHosts(ctx, &v)
	}
	return nil
}

// DisconnectNetwork undoes ConnectNetwork; with force also of a container that is no
// more.
func (a *Area) DisconnectNetwork(ctx context.Context, name string, n *bridge.Network, force bool) error {
	c, err := a.find(name)
	if err != nil {
		if force && route.Status(err) == 404 {
			return a.o.Networks.Disconnect(ctx, n.Name, name)
		}
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	v := a.view(c)
	if v.HostConfig.NetworkMode.IsHost() && n.Name == bridge.NameHost {
		return route.Invalidf("container cannot be disconnected from host network or connected to host network")
	}
	if v.Endpoints[n.Name] == nil && !force {
		return route.Forbidden(fmt.Errorf("container %s is not connected to network %s", v.ID, n.Name))
	}
	if v.running {
		if err := a.o.Networks.Disconnect(ctx, n.Name, v.ID); err != nil && !force {
			return err
		}
	}
	if err := a.commit(c, func() { c.rec.Endpoints = withEndpoint(c.rec.Endpoints, n.Name, nil) }); err != nil {
		return err
	}
	if v.running {
		return a.writeHosts(ctx, &v)
	}
	return nil
}

// withEndpoint is a copy of the endpoints with one set, or, with nil, without it:
// views share the map.
func withEndpoint(all map[string]*network.EndpointSettings, name string, s *network.EndpointSettings) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for k, v := range all {
		if k != name {
			out[k] = v
		}
	}
	if s != nil {
		out[name] = s
	}
	return out
}

// NetworkChanged writes a container's hosts and resolvers anew.
func (a *Area) NetworkChanged(id string) {
	c, err := a.find(id)
	if err != nil {
		return
	}
	a.ended.Go(func() {
		if v := a.view(c); v.running {
			a.notify("write a container's hosts", id, a.writeHosts(a.ctx, &v))
		}
	})
}
