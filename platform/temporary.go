package platform

import (
	"fmt"
	"os"

	"skiff.dev/skiff/kernel/mount"
)

// takeTemporary gives this process an empty directory of its own for temporary files.
// Libraries of images and builds mount snapshots there for moments; what a process that
// was killed in such a moment has left is taken away. It is below the engine's directory:
// what wipes that takes this away too, mounts included.
func takeTemporary(dir string) error {
	if err := mount.UnmountBelow(dir); err != nil {
		return fmt.Errorf("empty the temporary directory: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty the temporary directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the temporary directory: %w", err)
	}
	return os.Setenv("TMPDIR", dir)
}
