package platform

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// podsManifest is a Deployment that every test of stopping and crashing uses.
const podsManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: %d
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}, annotations: {round: "%d"}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: test/standin:1, command: [sh, -c, "trap exit TERM; sleep 3600 & wait"]}]
`

// ignorerManifest is a pod that does not end when it is asked to.
const ignorerManifest = `
apiVersion: v1
kind: Pod
metadata: {name: ignorer}
spec:
  terminationGracePeriodSeconds: 300
  containers:
  - name: c
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "trap : TERM; while true; do sleep 0.1; done"]
`

// begin prepares an instance of a test's own that is not started, and resets it.
func begin(t *testing.T, flags ...string) *cluster {
	t.Helper()
	needRoot(t)
	c, err := newCluster(t.TempDir(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.showLog(t)
		if err := c.reset(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// foreground starts skiff as a child of the test and returns when it has printed
// its last step.
func (c *cluster) foreground(t *testing.T, lastStep string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.binDir, "skiff"), append([]string{"up"}, c.flags...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=")
	for k, v := range c.env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), lastStep) {
			go func() {
				for lines.Scan() {
				}
			}()
			return cmd
		}
	}
	t.Fatalf("it ended before the step %q: %v", lastStep, cmd.Wait())
	return nil
}

// load loads the stand-ins.
func (c *cluster) load(t *testing.T) {
	t.Helper()
	archive, err := imageArchive()
	if err != nil {
		t.Fatal(err)
	}
	must(t)(c.skiff("image", "load", archive))
}

// containers counts those that run.
func (c *cluster) containers(t *testing.T) int {
	t.Helper()
	var s struct {
		Running int `json:"runningContainers"`
	}
	if err := json.Unmarshal([]byte(must(t)(c.skiff("status", "-o", "json"))), &s); err != nil {
		t.Fatal(err)
	}
	return s.Running
}

// settled waits until the machine has as many containers, sandboxes, pod
// interfaces and groups as there are pods, and fails if that does not come to be.
func (c *cluster) settled(t *testing.T, pods int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		have := c.census(t)
		// One that has ended is kept for its log.
		want := census{Containers: pods, Sandboxes: pods, Interfaces: pods, Groups: pods, Records: have.Records}
		if have == want && have.Records >= pods && have.Records <= 2*pods {
			return
		}
		if time.Now().After(deadline) {
			out, _ := c.kubectl("get", "pods", "-A", "-o", "wide")
			t.Fatalf("for %d pods there are %+v:\n%s", pods, have, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// census is what an instance has on the machine for its pods.
type census struct{ Containers, Sandboxes, Interfaces, Groups, Records int }

func (c *cluster) census(t *testing.T) census {
	t.Helper()
	out := census{Containers: c.containers(t)}
	boxes := map[string]bool{}
	for _, line := range traces(t, c) {
		switch kind, name, _ := strings.Cut(line, " "); kind {
		case "mount":
			if rest, ok := strings.CutPrefix(name, filepath.Join(c.run, "engine", "ns")+"/"); ok {
				boxes[strings.Split(rest, "/")[0]] = true
			}
		case "interface":
			if strings.HasPrefix(name, c.instance()+"-") {
				out.Interfaces++
			}
		case "control":
			base := filepath.Base(name)
			if strings.Contains(name, "/pids/") && strings.HasPrefix(base, "pod") && strings.Contains(name, "/kubepods/") {
				out.Groups++
			}
		}
	}
	out.Sandboxes = len(boxes)
	entries, err := os.ReadDir(filepath.Join(c.data, "engine", "containers"))
	if err != nil {
		t.Fatal(err)
	}
	out.Records = len(entries)
	return out
}

// TestStopAndGoOn: SIGTERM leaves containers, down stops them and frees the
// machine, the next start brings the pods back; each may be repeated.
func TestStopAndGoOn(t *testing.T) {
	c := begin(t)
	cmd := c.foreground(t, "wait until the node is ready")
	if out, err := c.up(); err == nil || !strings.Contains(out, "already running") || !strings.Contains(out, fmt.Sprint("process ", cmd.Process.Pid)) {
		t.Errorf("a second start says %v\n%s", err, out)
	}
	c.load(t)
	c.apply(t, fmt.Sprintf(podsManifest, 3, 0))
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=30s"))
	const identity = `jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}`
	before := must(t)(c.kubectl("get", "pods", "-o", identity))

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	if out, err := c.skiff("status"); err == nil || !strings.Contains(out, "not running") {
		t.Errorf("status of what does not run: %v %s", err, out)
	}
	must(t)(c.up())
	c.settled(t, 3)
	if after := must(t)(c.kubectl("get", "pods", "-o", identity)); after != before {
		t.Errorf("after SIGTERM and a start the pods were\n%s\nand are\n%s", before, after)
	}

	must(t)(c.skiff("down"))
	if left := traces(t, c); len(left) > 0 {
		t.Errorf("down left:\n%s", strings.Join(left, "\n"))
	}
	if out := must(t)(c.skiff("down")); !strings.Contains(out, "was not running") {
		t.Errorf("the second down says %q", out)
	}
	must(t)(c.up())
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=30s"))
	c.settled(t, 3)

	// A crash, then down.
	c.kill(t)
	must(t)(c.skiff("down"))
	if left := traces(t, c); len(left) > 0 {
		t.Errorf("down after a crash left:\n%s", strings.Join(left, "\n"))
	}
	must(t)(c.up())
	must(t)(c.kubectl("rollout", "status", "deployment/many", "--timeout=30s"))

	// A crash, then reset.
	c.kill(t)
	if err := c.reset(); err != nil {
		t.Fatal(err)
	}
	noTraces(t, c)
}

// TestReset asks, is quick, and does not mind that nothing is there.
func TestReset(t *testing.T) {
	c := begin(t)
	if err := c.reset(); err != nil {
		t.Errorf("reset of what never ran: %v", err)
	}
	noTraces(t, c)
	must(t)(c.up())
	c.load(t)
	c.apply(t, ignorerManifest)
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/ignorer", "--timeout=30s"))
	for _, answer := range []string{"n\n", "\n", ""} {
		cmd := exec.Command(filepath.Join(c.binDir, "skiff"), "reset", "--data-dir", c.data, "--run-dir", c.run)
		cmd.Stdin = strings.NewReader(answer)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Go on? [y/N]") || !strings.Contains(string(out), "nothing was changed") {
			t.Errorf("answered %q: %v %s", answer, err, out)
		}
	}
	if out := must(t)(c.kubectl("get", "pod", "ignorer")); !strings.Contains(out, "Running") {
		t.Errorf("after no the pod is\n%s", out)
	}
	begin := time.Now()
	cmd := exec.Command(filepath.Join(c.binDir, "skiff"), "reset", "--data-dir", c.data, "--run-dir", c.run)
	cmd.Stdin = strings.NewReader("y\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The pod asks for five minutes, down gives ten seconds, reset one.
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("reset took %v", took)
	} else {
		t.Logf("reset of a pod that ignores SIGTERM took %v", took.Round(10*time.Millisecond))
	}
	noTraces(t, c)
}

// TestInterruptedStart: Ctrl-C at any step of a first start leaves nothing.
func TestInterruptedStart(t *testing.T) {
	for _, step := range []string{"take the data directory", "make certificates", "start the API server", "open the container engine", "start the node"} {
		t.Run(step, func(t *testing.T) {
			c := begin(t)
			cmd := c.foreground(t, step)
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it may have become ready just before
			if _, err := os.Stat(filepath.Join(c.data, "config.json")); err == nil {
				t.Skip("it was ready before the signal came")
			}
			noTraces(t, c)
		})
	}
	t.Run("detached", func(t *testing.T) {
		c := begin(t)
		cmd := exec.Command(filepath.Join(c.binDir, "skiff"), append([]string{"up", "--detach"}, c.flags...)...)
		cmd.Env = append(os.Environ(), "SKIFF_DATA_DIR="+c.data, "SKIFF_RUN_DIR="+c.run)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // the first step
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		var rest []string
		for lines.Scan() {
			rest = append(rest, lines.Text())
		}
		if err := cmd.Wait(); err == nil {
			t.Skip("it was ready before the signal came")
		}
		if !strings.Contains(strings.Join(rest, "\n"), "interrupted") {
			t.Errorf("it says\n%s", strings.Join(rest, "\n"))
		}
		noTraces(t, c)
	})
}

// TestRelativeDirectories: directories are meant from where the user stands, also
// when skiff goes on in the background.
func TestRelativeDirectories(t *testing.T) {
	c := begin(t)
	dir := filepath.Dir(c.data)
	skiff := func(args ...string) (string, error) {
		cmd := exec.Command(c.program, append(args, "--data-dir=data", "--run-dir=./x/../run")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := skiff(append([]string{"up", "--detach"}, c.flags...)...); err != nil {
		t.Fatal(out)
	}
	must(t)(c.skiff("status"))
	if out, err := skiff("down"); err != nil || !strings.Contains(out, c.data) {
		t.Errorf("%v %s", err, out)
	}
}

// TestRunDirectoryIsRemembered: where none is given it is the data directory's own.
func TestRunDirectoryIsRemembered(t *testing.T) {
	c := begin(t)
	c.run = "" // an empty variable is none
	must(t)(c.up())
	c.run = "/run/skiff-" + c.instance()
	if _, err := os.Stat(filepath.Join(c.run, "skiff.sock")); err != nil {
		t.Error(err)
	}
	run := c.run
	c.run = ""
	must(t)(c.skiff("status"))
	if err := c.reset(); err != nil {
		t.Fatal(err)
	}
	c.run = run
	noTraces(t, c)
}

// TestSecretsAreRoots: nothing that others may read in both directories is secret.
func TestSecretsAreRoots(t *testing.T) {
	c := own(t)
	c.apply(t, `
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {key: value-that-nobody-may-read}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: c, image: test/standin:1, command: [sleep, "3600"], volumeMounts: [{name: s, mountPath: /s}]}
  volumes: [{name: s, secret: {secretName: s}}]
`)
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=30s"))
	for _, top := range []string{c.data, c.run} {
		info, err := os.Stat(top)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", top, info.Mode().Perm())
		}
	}
	// The directories above keep others out; what is secret keeps them out itself.
	for _, dir := range []string{filepath.Join(c.data, "pki"), filepath.Join(c.data, "store"), c.data} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it has gone in between
			}
			if d.IsDir() {
				if path != dir && dir == c.data {
					return fs.SkipDir // only the files in it
				}
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %o", path, info.Mode().Perm())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(c.run, "skiff.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v %v", info, err)
	}
}

// TestCommandLine: status in its forms, and an example in each command's help.
func TestCommandLine(t *testing.T) {
	c := begin(t)
	status := func(args ...string) (string, int) {
		out, _ := c.skiff(append([]string{"status"}, args...)...)
		cmd := exec.Command(filepath.Join(c.binDir, "skiff"), append([]string{"status", "--data-dir", c.data, "--run-dir", c.run}, args...)...)
		_ = cmd.Run()
		return out, cmd.ProcessState.ExitCode()
	}
	if out, code := status(); code != 3 || !strings.Contains(out, "skiff up --detach") {
		t.Errorf("before the start: %d %s", code, out)
	}
	must(t)(c.up())
	if out, code := status(); code != 0 || !strings.Contains(out, "is ready") || !strings.Contains(out, c.instance()) {
		t.Errorf("when it is ready: %d %s", code, out)
	}
	out, code := status("-o", "json")
	var s struct {
		Ready    bool
		PID      int
		Instance string
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || !s.Ready || s.PID != c.pid(t) || s.Instance != c.instance() {
		t.Errorf("as JSON: %d %v %+v", code, err, s)
	}
	if out, code := status("-o", "xml"); code != 1 || !strings.Contains(out, "json is the only one") {
		t.Errorf("as xml: %d %s", code, out)
	}
	// The directories may be seen by others here, so that they reach the socket.
	for dir := filepath.Dir(c.run); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []string{"status", "down", "reset", "up"} {
		cmd := exec.Command(c.program, verb, "--data-dir", c.data, "--run-dir", c.run)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "root") || !strings.Contains(string(out), "sudo") {
			t.Errorf("%s as nobody: %v %s", verb, err, out)
		}
		if verb == "status" && cmd.ProcessState.ExitCode() != 4 {
			t.Errorf("%s as nobody: %v", verb, err)
		}
	}
	for _, verb := range []string{"", "up", "down", "reset", "status", "image", "image load", "image pull", "image ls", "image rm"} {
		out := must(t)(c.skiff(append(strings.Fields(verb), "--help")...))
		if !strings.Contains(out, "Examples:\n  ") {
			t.Errorf("skiff %s --help has no example:\n%s", verb, out)
		}
	}
}
