// Package volumetest holds the suite that volumes pass, over the kernel and over
// the Mounter in memory that it offers to tests without root.
package volumetest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Mounter remembers mounts instead of making them. A binding becomes a link.
type Mounter struct {
	mu     sync.Mutex
	mounts map[string]string
	owners map[string]string
}

// Dump lists mounts and owners, sorted, one a line.
func (m *Mounter) Dump() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m.mounts)) {
		fmt.Fprintf(&b, "mount %s %s\n", k, m.mounts[k])
	}
	for _, k := range slices.Sorted(maps.Keys(m.owners)) {
		fmt.Fprintf(&b, "own %s %s\n", k, m.owners[k])
	}
	return b.String()
}

func (m *Mounter) add(target, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounts == nil {
		m.mounts = map[string]string{}
	}
	m.mounts[target] = what
}

// Tmpfs implements volume.Mounter.
func (m *Mounter) Tmpfs(target string, size int64, mode os.FileMode) error {
	m.add(target, fmt.Sprintf("tmpfs size=%d mode=%o", size, mode))
	return nil
}

// IsMount implements volume.Mounter.
func (m *Mounter) IsMount(dir string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.mounts[dir]
	return ok, nil
}

// Unmount implements volume.Mounter.
func (m *Mounter) Unmount(target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mounts, target)
	return nil
}

// UnmountBelow implements volume.Mounter.
func (m *Mounter) UnmountBelow(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.mounts, func(k, _ string) bool { return k == dir || strings.HasPrefix(k, dir+"/") })
	return nil
}

// MkdirIn implements volume.Mounter.
func (m *Mounter) MkdirIn(root, sub string, mode os.FileMode) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Stat(sub); err == nil {
		return nil
	}
	return r.MkdirAll(sub, mode)
}

// BindIn implements volume.Mounter; a link that leads outside is an error here.
func (m *Mounter) BindIn(root, sub, target string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Stat(sub); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(root, sub), target); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	m.add(target, "bind "+filepath.Join(root, sub))
	return nil
}

// Chown implements volume.Mounter.
func (m *Mounter) Chown(path string, uid, gid int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owners == nil {
		m.owners = map[string]string{}
	}
	m.owners[path] = fmt.Sprintf("%d:%d", uid, gid)
	return nil
}
