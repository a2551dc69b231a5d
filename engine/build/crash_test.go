package build_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/mount"
)

// crashDir is set in the process that is to be killed.
const crashDir = "SKIFF_BUILD_CRASH_DIR"

// TestBuildUntilKilled is the process that TestKill kills.
func TestBuildUntilKilled(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("is run by TestKill")
	}
	r := &rig{TB: t, dir: dir}
	r.open()
	q := build.Request{Tags: []string{"killed:1"}, Context: r.context(map[string]string{
		"Dockerfile": "FROM " + busybox + "\nRUN echo first > /a\nRUN echo begun; sleep 1000\n",
	})}
	_, err := r.builder.Build(t.Context(), q, func(s *client.SolveStatus) {
		for _, l := range s.Logs {
			os.Stdout.Write(l.Data)
		}
	})
	t.Fatal(err)
}

// TestKill kills a process in the middle of a build: the next one takes away what it
// has left, and goes on from the steps that were done.
func TestKill(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	r.close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBuildUntilKilled$")
	cmd.Env = append(os.Environ(), crashDir+"="+r.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := false
	for s := bufio.NewScanner(out); !begun && s.Scan(); {
		begun = strings.Contains(s.Text(), "begun")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if !begun {
		t.Fatal("the build did not begin")
	}
	r.open()
	tree, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	// They were killed, and may be on their way out.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids, err := tree.Procs("/skiff-buildtest")
		if err != nil || len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v run on", pids)
		}
	}
	if left, err := mount.Below(filepath.Join(r.dir, "build")); err != nil || len(left) > 0 {
		t.Errorf("mounts are left: %v %v", left, err)
	}
	if _, err := r.store.Get(t.Context(), "killed:1"); err == nil {
		t.Error("there is an image of a build that did not end")
	}
	out2, _, err := r.build(map[string]string{"Dockerfile": "FROM " + busybox + "\nRUN echo first > /a\nRUN echo second > /b\n"}, build.Request{Tags: []string{"killed:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !out2.cached["[2/3] RUN echo first > /a"] {
		t.Log("the step that was done is done again")
	}
	if got := r.file("killed:1", "b"); got != "second\n" {
		t.Errorf("/b is %q", got)
	}
}
