package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

func profile(action specs.LinuxSeccompAction, name string) *specs.Spec {
	return &specs.Spec{Linux: &specs.Linux{Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno,
		Syscalls: []specs.LinuxSyscall{{Names: []string{name}, Action: action}}}}}
}

func TestFiltersAreLearntByContent(t *testing.T) {
	crun := &ociRuntime{Version: "crun version 1.8.1"}
	dir := t.TempDir()
	write := func(b string) {
		if err := os.WriteFile(filepath.Join(dir, filterFile), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var f filters
	write("torn") // not a whole number of instructions
	f.give(crun, profile(specs.ActAllow, "read"))(dir)
	write("12345678")
	learn := f.give(crun, profile(specs.ActAllow, "read"))
	if learn == nil {
		t.Fatal("a torn program was learnt")
	}
	learn(dir)
	again := profile(specs.ActAllow, "read")
	if f.give(crun, again) != nil || again.Annotations[filterAnnotation] != "MTIzNDU2Nzg=" {
		t.Errorf("annotations %v", again.Annotations)
	}
	if again.Linux.Seccomp == nil {
		t.Error("the profile itself must stay: other readers of the bundle go by it")
	}
	if other := profile(specs.ActAllow, "write"); f.give(crun, other) == nil || other.Annotations != nil {
		t.Error("another profile gets this one's program")
	}
	if f.give(crun, profile(specs.ActNotify, "read")) != nil {
		t.Error("a profile with a listener is learnt")
	}
	if s := profile(specs.ActAllow, "read"); f.give(&ociRuntime{Version: "runc version 1.1.5"}, s) != nil || s.Annotations != nil {
		t.Error("runc knows no such annotation")
	}
	for i := range maxFilters + 1 {
		f.give(crun, profile(specs.ActAllow, fmt.Sprint("call", i)))(dir)
	}
	if len(f.data) > maxFilters {
		t.Errorf("%d programs are kept", len(f.data))
	}
}

// The second container is given what the first one's start has compiled, and is
// confined as the first is.
func TestCompiledFilterConfines(t *testing.T) {
	l := open(t, options(t))
	if !strings.HasPrefix(l.runtime.Version, "crun") {
		t.Skip("needs crun: ", l.runtime.Version)
	}
	load(t, l)
	ctx := context.Background()
	for i, annotated := range []bool{false, true} {
		c, err := l.Create(ctx, engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox", "sleep", "1000"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Start(ctx, c.Spec.ID); err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(filepath.Join(l.bundleDir(c.Spec.ID), "config.json"))
		if err != nil || bytes.Contains(config, []byte(filterAnnotation)) != annotated {
			t.Errorf("container %d: annotated is not %v (%v)", i, annotated, err)
		}
		now, err := l.Get(ctx, c.Spec.ID)
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", now.PID))
		if err != nil || !strings.Contains(string(status), "Seccomp:\t2") {
			t.Errorf("container %d is not confined: %v\n%s", i, err, status)
		}
		var out bytes.Buffer
		code, err := l.Exec(ctx, c.Spec.ID, engine.ExecSpec{Args: []string{"/bin/busybox", "unshare", "-m", "/bin/busybox", "true"}}, engine.Streams{Stderr: &out})
		if err != nil || code == 0 || !strings.Contains(out.String(), "Operation not permitted") {
			t.Errorf("exec in container %d: code %d, %v, %s", i, code, err, &out)
		}
		if err := l.Remove(ctx, c.Spec.ID, true); err != nil {
			t.Error(err)
		}
	}
}
