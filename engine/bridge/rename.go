package bridge

import (
	"context"
	"fmt"
)

// Rename implements Networks.
func (m *Manager) Rename(_ context.Context, container, name string) error {
	if err := m.rename(container, name); err != nil {
		return fmt.Errorf("rename the connections of %s: %w", container, err)
	}
	m.changed(container)
	return nil
}

func (m *Manager) rename(container, name string) error {
	s := m.locked(container)
	if s == nil {
		return nil
	}
	defer s.mu.Unlock()
	m.mu.Lock()
	old := s.Name
	s.Name = name
	for _, c := range s.Ends {
		c.Name = name
		c.DNSNames = replaced(c.DNSNames, old, name)
	}
	m.mu.Unlock()
	return m.store.saveSandbox(&s.record)
}

// replaced is a copy of names, which others may be reading, with one in the place of
// another.
func replaced(names []string, old, name string) []string {
	if names == nil {
		return nil // not in a user's network: there are no names
	}
	out := []string{name}
	for _, n := range names {
		if n != old && n != name {
			out = append(out, n)
		}
	}
	return out
}
