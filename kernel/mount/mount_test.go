package mount

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /run/a\040b rw shared:1 - tmpfs tmpfs rw
41 40 0:41 / /run/a\040b/c rw - tmpfs tmpfs rw
42 27 0:42 / /run/ab rw - tmpfs tmpfs rw
`

func TestBelow(t *testing.T) {
	for dir, want := range map[string][]string{
		"/run/a b": {"/run/a b", "/run/a b/c"},
		"/run/a":   nil,
		"/":        {"/proc", "/", "/run/a b", "/run/a b/c", "/run/ab"},
	} {
		got, err := below(strings.NewReader(mountinfo), dir)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v", dir, got, err)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add(mountinfo)
	f.Add(`a b c d \0 \04 \999`)
	f.Fuzz(func(t *testing.T, s string) { below(strings.NewReader(s), "/") })
}

// inNamespace runs f where its mounts reach nobody.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	sub := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write := func(p, text string) {
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	upper, work, target := sub("upper,x"), sub("work"), sub("target")
	var lower []string
	for range 200 { // more than a page of options
		lower = append(lower, sub("layer-with-a-rather-long-name:"+string(rune('A'+len(lower)%26))+strings.Repeat("x", len(lower)/26)))
	}
	write(filepath.Join(lower[0], "f"), "first")
	write(filepath.Join(lower[199], "f"), "last")
	write(filepath.Join(lower[199], "g"), "last")
	for _, n := range []int{0, 1, 200} {
		inNamespace(t, func() {
			if err := (Overlay{Lower: lower[:n], Upper: upper, Work: work}).Mount(target); err != nil {
				t.Errorf("%d layers: %v", n, err)
				return
			}
			defer unix.Unmount(target, unix.MNT_DETACH)
			if b, _ := os.ReadFile(filepath.Join(target, "f")); n > 0 && string(b) != "first" {
				t.Errorf("%d layers: %q", n, b)
			}
			if b, _ := os.ReadFile(filepath.Join(target, "g")); n == 200 && string(b) != "last" {
				t.Errorf("%d layers: %q", n, b)
			}
			write(filepath.Join(target, "new"), "x")
			if _, err := os.Stat(filepath.Join(upper, "new")); err != nil {
				t.Errorf("%d layers: %v", n, err)
			}
		})
	}
	inNamespace(t, func() {
		if err := (Overlay{Lower: lower[:1]}).Mount(target); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(target, "new"), nil, 0o644); err == nil {
			t.Error("written to a read-only overlay")
		}
		if err := PrivateDir(dir); err != nil {
			t.Error(err)
		}
		if err := UnmountBelow(dir); err != nil {
			t.Error(err)
		}
		if all, err := Below(dir); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
	})
}
