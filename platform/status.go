package platform

import (
	"context"
	"net"
	"strconv"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/engine"
)

// status is what `skiff status` shows.
func (p *process) status(ctx context.Context) localapi.Status {
	s := localapi.Status{
		Version:   Version,
		PID:       p.pids()[0],
		PIDs:      p.pids(),
		StartedAt: p.started,
		Ready:     p.ready.Load(),
		Instance:  p.instance,
		DataDir:   p.cfg.Data,
		Steps:     p.steps,
		Parts:     p.partStates(),
	}
	if !p.cfg.EngineOnly {
		s.API = "https://" + net.JoinHostPort(p.nodeIP.String(), strconv.Itoa(p.apiPort()))
		s.Node, s.NodeIP, s.PodCIDR, s.Services, s.DNS = p.cfg.NodeName, p.nodeIP.String(), p.cfg.PodCIDR, p.cfg.ServiceCIDR, p.dns.String()
	}
	for _, pid := range s.PIDs {
		s.RSS += residentBytes(pid)
	}
	if p.engine == nil {
		return s // a control plane alone
	}
	path, version := p.engine.Runtime()
	s.Runtime = path + " " + version
	if p.node != nil {
		s.Pods = len(p.node.Pods())
		for _, t := range p.node.Shortages(ctx) {
			s.Shortages = append(s.Shortages, t.String())
		}
	}
	containers, err := p.engine.List(ctx, nil)
	if err != nil {
		p.tel.Log.Warn("list containers", "error", err)
	}
	for _, c := range containers {
		if c.State == engine.Running {
			s.Running++
		}
	}
	return s
}

// askToStop makes run stop, once.
func (p *process) askToStop(r localapi.StopRequest) {
	select {
	case p.stopping <- r:
		if !p.ready.Load() {
			p.giveUp()
		}
	default: // it is stopping already
	}
}
