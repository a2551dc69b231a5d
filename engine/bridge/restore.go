package bridge

import (
	"context"
	"errors"
	"fmt"
)

// Restore implements Networks.
func (m *Manager) Restore(ctx context.Context, running []Running) error {
	st, err := m.store.load()
	if err != nil {
		return fmt.Errorf("restore networks: %w", err)
	}
	if err := m.recall(st); err != nil {
		return fmt.Errorf("restore networks: %w", err)
	}
	m.mu.Lock()
	err = m.predefine()
	m.mu.Unlock()
	if err != nil {
		return err
	}
	alive := map[string]Running{}
	for _, r := range running {
		alive[r.Container] = r
	}
	var goOn []*sandbox
	var gone []string
	for _, r := range st.sandboxes {
		now, ok := alive[r.Container]
		s, err := m.adopt(r)
		if err != nil {
			return fmt.Errorf("restore networks of %s: %w", r.Name, err)
		}
		if !ok {
			gone = append(gone, r.Container)
			continue
		}
		s.NetNS = now.NetNS
		goOn = append(goOn, s)
	}
	m.mu.Lock()
	begun := m.begunMachine()
	m.mu.Unlock()
	if err := m.machine.begin(begun, goOn); err != nil {
		return fmt.Errorf("restore networks: %w", err)
	}
	var errs []error
	for _, c := range gone {
		errs = append(errs, m.Leave(ctx, c))
	}
	for _, s := range goOn {
		s.mu.Lock()
		errs = append(errs, m.resume(s))
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// begunMachine lists the networks that have an interface.
func (m *Manager) begunMachine() []*network {
	var out []*network
	for _, n := range m.networks {
		if n.Driver == DriverBridge {
			out = append(out, n)
		}
	}
	return out
}

// recall fills the table with the networks of an earlier process, and takes away what
// it was about to make.
func (m *Manager) recall(st *state) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := map[string]bool{}
	for _, rec := range st.networks {
		n, err := load(rec)
		if err != nil {
			return err
		}
		m.networks[n.ID] = n
		done[n.ID] = true
	}
	for _, rec := range st.begun {
		if !done[rec.ID] {
			n, err := load(rec)
			if err == nil && n.Driver == DriverBridge {
				err = m.machine.removeBridge(n)
			}
			if err != nil {
				return err
			}
		}
		if err := m.store.endBegun(rec.ID); err != nil {
			return err
		}
	}
	return nil
}

func load(rec *Network) (*network, error) {
	n := &network{Network: *rec, endpoints: map[string]*Attachment{}}
	if n.Driver != DriverBridge {
		return n, nil
	}
	var err error
	if n.config, err = parseOptions(n.Options); err != nil {
		return nil, err
	}
	if n.config.bridge == "" {
		n.config.bridge = "br-" + n.ID[:12]
	}
	n.makePools()
	return n, nil
}

// adopt takes a container's connections in. Those to networks that are no more are
// dropped.
func (m *Manager) adopt(r *record) (*sandbox, error) {
	s := &sandbox{record: *r}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Ends = nil
	for _, c := range r.Ends {
		n := m.networks[c.NetworkID]
		if n == nil {
			if c.Link != "" {
				if err := m.machine.detach(r, c); err != nil {
					return nil, err
				}
			}
			continue
		}
		n.endpoints[r.Container] = &c.Attachment
		for _, p := range n.pools {
			if p.subnet.Contains(c.IPv4.Addr()) {
				p.used[c.IPv4.Addr()] = true
			}
			if p.subnet.Contains(c.IPv6.Addr()) {
				p.used[c.IPv6.Addr()] = true
			}
		}
		s.Ends = append(s.Ends, c)
	}
	for _, b := range s.Bound {
		k := portKey{b.Protocol, b.HostPort}
		m.ports[k] = append(m.ports[k], b.HostIP)
	}
	m.sandboxes[r.Container] = s
	return s, nil
}

// resume makes good what a running container lacks: what its process here served, and
// the connection that was being made when the process before ended. s is locked.
func (m *Manager) resume(s *sandbox) error {
	for _, b := range s.Bound {
		if err := m.machine.open(b); err != nil {
			// A program of the host has it by now, and keeps it. Packets still reach the
			// container, as before.
			m.o.Log.Warn("a published port is held by another program too", "container", s.Name, "port", b.HostPort, "err", err)
		}
	}
	return m.settle(s)
}

// Close implements Networks.
func (m *Manager) Close() error {
	m.ending.Wait()
	return m.machine.Close()
}
