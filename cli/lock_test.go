package cli

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spf13/pflag"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if _, held := Holder(dir); held {
		t.Error("held before anybody took it")
	}
	f, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Lock(dir); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("a second lock: %v", err)
	}
	if pid, ok := Holder(dir); !ok || pid != os.Getpid() {
		t.Errorf("holder %d %v", pid, ok)
	}
	// Removed while held, as a reset does: the next one has a lock of its own.
	if err := os.Remove(filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = Lock(dir); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, ok := Holder(dir); ok {
		t.Error("held after it was let go")
	}
}

// TestLockIsExclusive has many take, remove and release one lock while others look
// at it.
func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	var inside atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				Holder(dir)
				f, err := Lock(dir)
				var held *HeldError
				if errors.As(err, &held) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				// Whoever removes the file lets the next one in at once.
				inside.Add(-1)
				if i%2 == 0 {
					os.Remove(f.Name())
				}
				f.Close()
			}
		})
	}
	wg.Wait()
}

func TestSettle(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	a, b := Dirs{Data: real, Run: DefaultRunDir}, Dirs{Data: link, Run: DefaultRunDir}
	for _, d := range []*Dirs{&a, &b} {
		if err := d.settle(new(pflag.FlagSet)); err != nil {
			t.Fatal(err)
		}
	}
	if a != b || a.Run != DefaultRunDir+"-"+a.Instance() {
		t.Errorf("%+v and %+v", a, b)
	}
	if err := os.WriteFile(filepath.Join(real, ConfigFile), []byte(`{"runDir":"/run/mine"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Dirs{Data: link + "/../link/", Run: DefaultRunDir}
	if err := c.settle(new(pflag.FlagSet)); err != nil || c.Run != "/run/mine" {
		t.Errorf("%+v %v", c, err)
	}
	d := Dirs{Data: filepath.Join(link, "not", "there"), Run: "/run/given", runChosen: true}
	if err := d.settle(new(pflag.FlagSet)); err != nil || d.Data != filepath.Join(real, "not", "there") || d.Run != "/run/given" {
		t.Errorf("%+v %v", d, err)
	}
	e := Dirs{Data: DefaultDataDir, Run: DefaultRunDir}
	if err := e.settle(new(pflag.FlagSet)); err != nil || e.Instance() != "skiff" || e.Run != DefaultRunDir {
		t.Errorf("%+v %v", e, err)
	}
}

func TestInstanceNames(t *testing.T) {
	if got := (&Dirs{Data: DefaultDataDir}).Instance(); got != "skiff" {
		t.Errorf("default instance is %q", got)
	}
	a, b := (&Dirs{Data: "/tmp/a"}).Instance(), (&Dirs{Data: "/tmp/b"}).Instance()
	if a == b || len(a) != 8 {
		t.Errorf("got %q and %q", a, b)
	}
}
