package namespace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPin(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	dir := filepath.Join(t.TempDir(), "box")
	spec := Spec{Net: true, IPC: true, UTS: true, Hostname: "pinned", Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "1234"}}
	if err := Pin(dir, spec); err != nil {
		t.Fatal(err)
	}
	defer Unpin(dir)
	for _, n := range []string{Net, IPC, UTS} {
		if !Pinned(filepath.Join(dir, n)) {
			t.Errorf("%s is not pinned", n)
		}
	}
	out, err := exec.Command("nsenter", "--net="+filepath.Join(dir, Net), "--ipc="+filepath.Join(dir, IPC), "--uts="+filepath.Join(dir, UTS),
		"cat", "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax").Output()
	if err != nil || string(out) != "pinned\n1\n1234\n" {
		t.Errorf("%q %v", out, err)
	}
	if host, _ := os.Hostname(); host == "pinned" {
		t.Error("the machine has the name")
	}
	shm := filepath.Join(dir, "shm")
	if err := os.Mkdir(shm, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("shm", shm, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := Unpin(dir); err != nil {
		t.Error("unpinning what is not there: ", err)
	}
}

func TestPinFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	for name, s := range map[string]Spec{
		"sysctl": {Net: true, Sysctls: map[string]string{"net.no.such": "1"}},
		"escape": {Net: true, Sysctls: map[string]string{"net/../../etc/x": "1"}},
		"host":   {UTS: true, Hostname: strings.Repeat("x", 100)},
	} {
		dir := filepath.Join(t.TempDir(), "box")
		if err := Pin(dir, s); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something stays: %v", name, err)
		}
	}
}
