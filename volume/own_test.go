package volume

import (
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestOwnByPolicy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: gives files to a group")
	}
	g, mismatch, always := int64(4711), v1.FSGroupChangeOnRootMismatch, v1.FSGroupChangeAlways
	pod := &v1.Pod{}
	pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &g}
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v := New(Options{RootDir: t.TempDir()})
	step := func(p *v1.PodFSGroupChangePolicy, want os.FileMode) {
		t.Helper()
		pod.Spec.SecurityContext.FSGroupChangePolicy = p
		if err := v.own(&request{pod: pod}, dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%v, %v, want %v", info.Mode(), err, want)
		}
	}
	step(&mismatch, 0o660) // the top is not right yet
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	step(&mismatch, 0o600)
	step(&always, 0o660)
}
