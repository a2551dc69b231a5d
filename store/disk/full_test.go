package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"skiff.dev/skiff/store"
)

// noise cannot be compressed.
func noise(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

// TestFullDisk fills a small file system, first by the store itself down to its
// reserve, then by a neighbour to the last byte, and frees it again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("skiff-store-test", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("needs root with the right to mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, filepath.Join(dir, "store"), Options{Logger: quiet, MinFree: 16 << 20, retryAfter: 1})
	acked := map[string]int64{}
	write := func(prefix string, n int) (failed error) {
		for i := range n {
			key := fmt.Sprintf("%s%d", prefix, i)
			rev, err := put(s, key, noise(20000))
			if err != nil {
				failed = err
				continue
			}
			acked[key] = rev
		}
		return failed
	}
	if err := write("own", 4000); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("filling the disk: %v, want ErrNoSpace", err)
	}
	checkAcked(t, s, acked)

	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if err := write("full", 20); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("on a full disk: %v, want ErrNoSpace", err)
	}
	checkAcked(t, s, acked)
	s.Close()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("skiff-store-test", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	s = open(t, filepath.Join(dir, "store"), Options{Logger: quiet, MinFree: 16 << 20})
	if err := write("again", 50); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	checkAcked(t, s, acked)
}

// TestFullUnderReserve turns the reserve off, so that the writes themselves meet
// the full disk: what fails was not written, what was acknowledged stays, and the
// same store goes on when there is space.
func TestFullUnderReserve(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("skiff-store-test", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("needs root with the right to mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, filepath.Join(dir, "store"), Options{Logger: quiet, MinFree: 1, retryAfter: 1})
	acked := map[string]int64{}
	refused := 0
	for i := range 3000 {
		key := fmt.Sprintf("k%d", i)
		rev, err := put(s, key, noise(20000))
		switch {
		case err == nil:
			acked[key] = rev
		case errors.Is(err, store.ErrNoSpace):
			acked[key] = 0
			refused++
		default:
			refused++ // unknown, and says so
		}
	}
	if refused == 0 {
		t.Fatal("the disk did not fill up")
	}
	if err := syscall.Mount("skiff-store-test", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	rev, err := put(s, "after", "v")
	if err != nil {
		t.Fatalf("with space again: %v", err)
	}
	acked["after"] = rev
	checkAcked(t, s, acked)
	s.Close()
	checkAcked(t, open(t, filepath.Join(dir, "store"), Options{}), acked)
}
