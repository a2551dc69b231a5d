package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/networks"
)

func dockerNetworksDir(c *Config) string { return filepath.Join(c.Data, "docker", "networks") }

// dockerNetworks is the networks of Docker's containers; those of containers that run
// go on.
func (p *process) dockerNetworks(ctx context.Context, events *event.Hub, log *slog.Logger, changed func(container string)) (*bridge.Manager, error) {
	o := bridge.Options{
		Instance: p.cfg.Instance(), Dir: dockerNetworksDir(p.cfg), Bridge: "docker0", IgnoreHostFirewall: p.cfg.PublishPastFirewall,
		Changed: changed, Event: networks.Tell(events), Log: log,
	}
	for _, r := range []string{p.cfg.PodCIDR, p.cfg.ServiceCIDR} {
		if r, err := netip.ParsePrefix(r); err == nil { // the engine alone has none
			o.Taken = append(o.Taken, r)
		}
	}
	m, err := bridge.New(o)
	if err != nil {
		return nil, err
	}
	running, err := p.runningSandboxes(ctx)
	if err == nil {
		err = m.Restore(ctx, running)
	}
	if err != nil {
		return nil, fmt.Errorf("networks of containers: %w", err)
	}
	return m, nil
}

// networkArea ends what the networks serve with the area.
type networkArea struct {
	*networks.Area
	nets *bridge.Manager
}

// Close implements io.Closer.
func (a networkArea) Close() error { return a.nets.Close() }

// runningSandboxes are those of the engine in which a container runs.
func (p *process) runningSandboxes(ctx context.Context) ([]bridge.Running, error) {
	list, err := p.engine.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	runs := map[string]bool{}
	for _, c := range list {
		if c.State == engine.Running {
			runs[c.Spec.Sandbox] = true
		}
	}
	sandboxes, err := p.engine.Sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	var out []bridge.Running
	for _, s := range sandboxes {
		if runs[s.Spec.ID] {
			out = append(out, bridge.Running{Container: s.Spec.ID, NetNS: s.NetNS})
		}
	}
	return out, nil
}
