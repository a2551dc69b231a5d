package build_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/build"
)

// smallDisk is a filesystem of some bytes of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		if mkfs, err = exec.LookPath("/sbin/mkfs.ext4"); err != nil {
			t.Skip("needs mkfs.ext4")
		}
	}
	dir := t.TempDir()
	file, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mounted")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", file, at).CombinedOutput(); err != nil {
		t.Skipf("needs loop devices: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		// BuildKit leaves files that it has read to the collector.
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// TestFullDisk fills the disk at each place where a build writes. The error names it,
// what was there stays whole, and a build that fits works.
func TestFullDisk(t *testing.T) {
	r := rigIn(t, filepath.Join(smallDisk(t, 96<<20), "skiff"))
	r.loadBusybox()
	r.must("FROM "+busybox+"\nRUN echo before > /b\n", build.Request{Tags: []string{"before:1"}})
	large := strings.Repeat("0123456789abcdef", 60<<20/16)
	for _, c := range []struct{ name, dockerfile, file string }{
		{"the context", "FROM " + busybox + "\nCOPY f /f\n", large + large[:40<<20]},
		{"a copy", "FROM " + busybox + "\nCOPY f /f\n", large},
		{"a layer", "FROM " + busybox + "\nRUN dd if=/dev/zero of=/f bs=1M count=50\n", ""},
		{"a command", "FROM " + busybox + "\nRUN dd if=/dev/zero of=/f bs=1M count=100\n", ""},
	} {
		_, _, err := r.build(map[string]string{"Dockerfile": c.dockerfile, "f": c.file}, build.Request{Tags: []string{"full:1"}})
		switch {
		case err == nil:
			t.Errorf("%s: there was room", c.name)
		case c.name != "a command" && !errors.Is(err, engine.ErrNoSpace):
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := r.store.Get(t.Context(), "full:1"); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s: there is an image: %v", c.name, err)
		}
		if got := r.file("before:1", "b"); got != "before\n" {
			t.Errorf("%s: an image that was there is broken: %q", c.name, got)
		}
		if _, err := r.builder.Prune(t.Context(), client.PruneInfo{All: true}); err != nil {
			t.Errorf("prune after %s: %v", c.name, err)
		}
		if got := r.must("FROM "+busybox+"\nRUN echo after\n", build.Request{NoCache: true}); !strings.Contains(got, "after\n") {
			t.Errorf("after %s: %q", c.name, got)
		}
	}
	r.close()
	r.open()
	r.emptied()
}

// TestSharedWork builds the same twice at once: what is the same is done once.
func TestSharedWork(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	files := map[string]string{"Dockerfile": "FROM " + busybox + "\nCOPY f /f\nRUN sleep 1; head -c 16 /dev/urandom > /random\n", "f": "f"}
	var both sync.WaitGroup
	for _, name := range []string{"one:1", "two:1"} {
		both.Go(func() {
			if _, _, err := r.build(files, build.Request{Tags: []string{name}, SharedKey: name}); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if one, two := r.file("one:1", "random"), r.file("two:1", "random"); one != two {
		t.Errorf("the command ran twice: %q %q", one, two)
	}
}
