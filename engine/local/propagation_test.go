package local

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/kernel/mount"
)

// TestPropagation: a mount made in a container reaches the machine through an
// rshared mount, and one made on the machine later reaches the container through
// an rslave one, although the runtime sees mounts of its own.
func TestPropagation(t *testing.T) {
	l := open(t, options(t))
	load(t, l)
	dir := t.TempDir()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer mount.UnmountBelow(dir)
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []engine.ContainerSpec{
		{ID: "both", Mounts: []engine.Mount{{Source: dir, Target: "/m", Propagation: "rshared"}},
			Command: []string{"sh", "-c", "mount -t tmpfs x /m/out && touch /m/out/made && sleep 1000"}},
		{ID: "slave", Mounts: []engine.Mount{{Source: dir, Target: "/m", Propagation: "rslave"}},
			Command: []string{"sh", "-c", "until test -e /m/in/made; do sleep 0.01; done; echo seen"}},
	} {
		c.Image, c.Privileged = "busybox", true
		if _, err := l.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
	defer l.Remove(t.Context(), "both", true)
	in := filepath.Join(dir, "in")
	if err := unix.Mount("x", in, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, "made"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := waitExit(t, l, "slave"); c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	code, err := l.Exec(t.Context(), "both", engine.ExecSpec{Args: []string{"sh", "-c", "until test -e /m/out/made; do true; done"}}, engine.Streams{})
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "made")); err != nil {
		t.Error("the container's mount does not reach the machine: ", err)
	}
}
