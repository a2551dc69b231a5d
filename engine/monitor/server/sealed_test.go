package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSealedProgram(t *testing.T) {
	src, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip("needs /bin/true: ", err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, src, 0o700); err != nil {
		t.Fatal(err)
	}
	var s sealed
	first := s.program(path)
	if first == path || s.program(path) != first {
		t.Fatalf("program %q", first)
	}
	defer unix.Close(s.fd)
	if got, err := unix.FcntlInt(uintptr(s.fd), unix.F_GET_SEALS, 0); err != nil || got != runtimeSeals {
		t.Errorf("seals %#x, %v", got, err)
	}
	if err := exec.Command(first).Run(); err != nil {
		t.Errorf("run: %v", err)
	}
	old := s.fd
	defer unix.Close(old)
	if err := os.WriteFile(path+".new", append(src, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if s.program(path); s.fd == old {
		t.Error("a changed program is not copied anew")
	}
	if p := s.program(path + " that is not there"); p != path+" that is not there" {
		t.Errorf("of no program: %q", p)
	}
}
