package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"skiff.dev/skiff/kernel/mount"
)

// sweep ends the containers of RUN that a process that was killed has left, takes
// their mounts away and what contexts it was receiving.
func (b *Builder) sweep() error {
	if err := os.RemoveAll(b.contextsDir()); err != nil {
		return err
	}
	entries, err := os.ReadDir(b.executorDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mounted := filepath.Join(b.o.Root, "cachemounts")
	if _, err := os.Stat(mounted); err == nil {
		if err := mount.UnmountBelow(mounted); err != nil {
			return err
		}
	}
	if b.o.Cgroups != nil && b.o.CgroupParent != "" {
		if err := b.o.Cgroups.Kill(b.o.CgroupParent); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("end containers of builds: %w", err)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if err := mount.UnmountBelow(b.executorDir()); err != nil {
		return err
	}
	return os.RemoveAll(b.executorDir())
}

// contextsDir has the contexts that clients are sending.
func (b *Builder) contextsDir() string { return filepath.Join(b.o.Root, "contexts") }

// NewContext makes an empty directory for a client's files, which drop takes away.
func (b *Builder) NewContext() (dir string, drop func() error, err error) {
	if err := os.MkdirAll(b.contextsDir(), 0o700); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(b.contextsDir(), ""); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
