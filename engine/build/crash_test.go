package build_test

import (
	"bufio"
	"errors"
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

// killTimes is how often TestKillAnywhere kills, each time later in a build.
const killTimes = 24

// TestBuildForever is the process that TestKillAnywhere kills: it builds the same over
// and over, always anew.
func TestBuildForever(t *testing.T) {
	dir := os.Getenv(crashForever)
	if dir == "" {
		t.Skip("is run by TestKillAnywhere")
	}
	r := &rig{TB: t, dir: dir}
	r.open()
	files := r.context(everything)
	os.Stdout.WriteString("begun\n")
	for {
		if _, err := r.builder.Build(t.Context(), build.Request{Tags: []string{"everything:1"}, Context: files, NoCache: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

const crashForever, crashAfter = "SKIFF_BUILD_CRASH_FOREVER", "SKIFF_BUILD_CRASH_AFTER"

// TestAfterKill is the process after one that was killed: it finds nothing of it at
// work, and builds the same.
func TestAfterKill(t *testing.T) {
	dir := os.Getenv(crashAfter)
	if dir == "" {
		t.Skip("is run by TestKillAnywhere")
	}
	r := &rig{TB: t, dir: dir}
	r.open()
	defer r.close()
	if left, err := mount.Below(filepath.Join(dir, "build")); err != nil || len(left) > 0 {
		t.Fatalf("mounts are left: %v %v", left, err)
	}
	if _, _, err := r.build(everything, build.Request{Tags: []string{"everything:1"}}); err != nil {
		t.Fatal(err)
	}
	if got := r.file("everything:1", "b"); got != "b\n" {
		t.Errorf("/b is %q", got)
	}
	if got := r.file("everything:1", "a"); got != everything["f"] {
		t.Errorf("/a has %d bytes", len(got))
	}
}

// everything is a context of all that a build does: it receives, copies, runs, makes
// layers and an image.
var everything = map[string]string{
	"Dockerfile": "FROM " + busybox + " AS a\nCOPY . /c/\nRUN --mount=type=cache,target=/k echo x >> /k/f; cat /c/f > /a\nFROM " + busybox + "\nCOPY --from=a /a /a\nRUN echo b > /b\n",
	"f":          strings.Repeat("content\n", 1<<17),
}

// TestKillAnywhere kills a process at many points of a build. After each the next
// takes away what is left and builds the same, and in the end nothing is left over
// once cache and images are gone.
func TestKillAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some time")
	}
	r := newRig(t)
	r.loadBusybox()
	r.close()
	for i := range killTimes {
		killBuild(t, r.dir, time.Duration(i)*40*time.Millisecond)
		cmd := exec.Command(os.Args[0], "-test.run=^TestAfterKill$")
		cmd.Env = append(os.Environ(), crashAfter+"="+r.dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kill %d: %v\n%s", i, err, out)
		}
	}
	r.open()
	r.emptied()
}

// temporary is where a process that is to be killed mounts for moments. As in a whole
// Skiff, what it leaves mounted there is taken away with the rig's directory.
func temporary(t *testing.T, dir string) string {
	t.Helper()
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	return tmp
}

// killBuild kills TestBuildForever some time after its begin.
func killBuild(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBuildForever$")
	cmd.Env = append(os.Environ(), crashForever+"="+dir, "TMPDIR="+temporary(t, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "begun"; {
		t.Log(s.Text())
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the build ended before it was killed: %v", err)
	}
}

// TestKill kills a process in the middle of a build: the next one takes away what it
// has left, and goes on from the steps that were done.
func TestKill(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	r.close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBuildUntilKilled$")
	cmd.Env = append(os.Environ(), crashDir+"="+r.dir, "TMPDIR="+temporary(t, r.dir))
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
