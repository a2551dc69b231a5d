package volumes

import (
	"fmt"

	"github.com/moby/moby/api/types/volume"
)

// Hold says that ref, a container's id, has the volume in its configuration: it
// cannot be removed until Release. Saying it again changes nothing.
func (s *Store) Hold(name, ref string) (*volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.volumes[name]
	if e == nil {
		return nil, opError("get", name, ErrNotFound)
	}
	e.refs[ref] = true
	return s.show(e), nil
}

// Release ends Hold. It does not matter whether there is such a volume.
func (s *Store) Release(name, ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.volumes[name]; e != nil {
		delete(e.refs, ref)
	}
}

// Mount makes a volume ready for ref, a container that starts or that goes on
// running, and returns the directory to bind. What the options name is mounted for
// the first; for the others, and after a restart of this process, it is there.
func (s *Store) Mount(name, ref string) (string, error) {
	e := s.take(name)
	if e == nil {
		return "", opError("get", name, ErrNotFound)
	}
	defer e.busy.Unlock()
	target := s.data(name)
	if e.mountable() && !s.used(e) {
		mounted, err := s.o.Mounts.IsMount(target)
		if err != nil {
			return "", fmt.Errorf("mount volume %s: %w", name, err)
		}
		if !mounted {
			if err := s.mount(e); err != nil {
				return "", fmt.Errorf("failed to mount local volume: %w", err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mounts[ref] = true
	return target, nil
}

// used tells whether somebody runs with the volume.
func (s *Store) used(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(e.mounts) > 0
}

// Unmount ends Mount. What the options name is unmounted after the last.
func (s *Store) Unmount(name, ref string) error {
	e := s.take(name)
	if e == nil {
		return nil
	}
	defer e.busy.Unlock()
	s.mu.Lock()
	had := e.mounts[ref]
	delete(e.mounts, ref)
	s.mu.Unlock()
	if !had || s.used(e) {
		return nil
	}
	if err := s.unmount(e); err != nil {
		return fmt.Errorf("unmount volume %s: %w", name, err)
	}
	return nil
}

// unmount takes away what is mounted for a volume that nobody uses.
func (s *Store) unmount(e *entry) error {
	if !e.mountable() {
		return nil
	}
	return s.o.Mounts.Unmount(s.data(e.Name))
}
