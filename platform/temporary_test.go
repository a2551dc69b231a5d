package platform

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/mount"
)

// TestTemporary: what a killed process has left mounted is unmounted, not emptied.
func TestTemporary(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	t.Setenv("TMPDIR", os.TempDir()) // is put back
	snapshot, dir := t.TempDir(), filepath.Join(t.TempDir(), "tmp")
	kept := filepath.Join(snapshot, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "mount1")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(snapshot, left, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := takeTemporary(dir); err != nil {
		t.Fatal(err)
	}
	if at, err := mount.Below(dir); err != nil || len(at) > 0 {
		t.Errorf("%v is mounted: %v", at, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if os.TempDir() != dir {
		t.Errorf("temporary files go to %s", os.TempDir())
	}
}
