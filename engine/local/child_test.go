package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/engine/monitor/wire"
)

// childEnv makes the test's program an engine that runs containers until it is
// killed.
const childEnv = "SKIFF_ENGINE_TEST_CHILD"

type childSetup struct {
	Root, RunDir, Instance, Program, Logs string
	Image                                 []byte
}

func childMain() {
	var s childSetup
	fail := func(err error) {
		if err != nil {
			fmt.Println("FAIL", err)
			os.Exit(1)
		}
	}
	fail(json.NewDecoder(os.Stdin).Decode(&s))
	ctx := context.Background()
	l, err := Open(ctx, Options{Root: s.Root, RunDir: s.RunDir, Instance: s.Instance, Monitor: func() ([]byte, error) { return os.ReadFile(s.Program) }})
	fail(err)
	_, err = l.Images().Load(ctx, bytes.NewReader(s.Image), "")
	fail(err)
	_, err = l.CreateSandbox(ctx, engine.SandboxSpec{ID: "box", CgroupParent: "pods/box", PIDShared: true})
	fail(err)
	for _, c := range []engine.ContainerSpec{
		{ID: "ticker", Sandbox: "box", Command: []string{"sh", "-c", "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.02; done"}},
		{ID: "waiter", Command: []string{"sh", "-c", "until test -e /go; do sleep 0.02; done; echo bye; exit 9"}},
		{ID: "terminal", TTY: true, Stdin: true, Command: []string{"sh", "-c", "while read x; do echo got $x; done"}},
		{ID: "created", Command: []string{"true"}},
	} {
		c.Image, c.LogPath = "busybox", filepath.Join(s.Logs, c.ID+".log")
		_, err := l.Create(ctx, c)
		fail(err)
		if c.ID != "created" {
			fail(l.Start(ctx, c.ID))
		}
	}
	fmt.Println("ready")
	select {}
}

// startChild runs an engine in another process.
func startChild(t *testing.T, o Options, logs string) *exec.Cmd {
	t.Helper()
	setup, err := json.Marshal(childSetup{Root: o.Root, RunDir: o.RunDir, Instance: o.Instance, Program: monitorProgram, Logs: logs, Image: enginetest.Busybox(t, "busybox")})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin = bytes.NewReader(setup)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	b := make([]byte, 1000)
	n, _ := out.Read(b)
	if string(b[:n]) != "ready\n" {
		t.Fatalf("child: %s", b[:n])
	}
	return cmd
}

func waitExit(t *testing.T, l *Local, id string) *engine.Container {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events := l.Events(ctx)
	for {
		c, err := l.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if c.State == engine.Exited {
			return c
		}
		if _, ok := <-events; !ok {
			t.Fatalf("%s does not end", id)
		}
	}
}

// nextTick waits until the ticker has written to its log again.
func nextTick(t *testing.T, log string) {
	t.Helper()
	st, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		now, err := os.Stat(log)
		if err == nil && now.Size() > st.Size() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not grow", log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ticksWithoutGap tells that no line of the ticker was lost or doubled.
func ticksWithoutGap(t *testing.T, log string) {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, fmt.Sprintf(" stdout F tick %d\n", i)) {
			t.Fatalf("line %d is %q", i, line)
		}
		i++
	}
}

// letGo lets the waiter end.
func letGo(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/go", pid), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func killHard(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

func monitorPID(t *testing.T, l *Local) int {
	t.Helper()
	h, err := l.mon.Ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h.PID
}

func TestAdoptAfterKill(t *testing.T) {
	o, logs := options(t), t.TempDir()
	child := startChild(t, o, logs)
	if _, err := Open(t.Context(), o); !errors.Is(err, engine.ErrInUse) {
		t.Fatalf("a second engine opens: %v", err)
	}
	killHard(t, child)
	// What a crash in the middle leaves.
	half := filepath.Join(o.Root, "containers", "half")
	if err := os.MkdirAll(filepath.Join(half, "upper"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Root, "sandboxes", "torn.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	// One ends while no engine runs.
	var started wire.Task
	if err := readJSON(filepath.Join(o.Root, "containers", "waiter", startFile), &started); err != nil {
		t.Fatal(err)
	}
	letGo(t, started.PID)
	nextTick(t, filepath.Join(logs, "ticker.log"))
	l := open(t, o)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Error("half-made container stays: ", err)
	}
	if c := waitExit(t, l, "waiter"); c.ExitCode != 9 || c.Message != "" {
		t.Errorf("%+v", c)
	}
	c, err := l.Get(t.Context(), "ticker")
	if err != nil || c.State != engine.Running || c.PID == 0 {
		t.Fatalf("%+v %v", c, err)
	}
	if c, err := l.Get(t.Context(), "created"); err != nil || c.State != engine.Created {
		t.Errorf("%+v %v", c, err)
	}
	if code, err := l.Exec(t.Context(), "ticker", engine.ExecSpec{Args: []string{"true"}}, engine.Streams{}); err != nil && code != 0 {
		t.Error(err)
	}
	nextTick(t, filepath.Join(logs, "ticker.log"))
	ticksWithoutGap(t, filepath.Join(logs, "ticker.log"))
	if b, err := l.Sandboxes(t.Context()); err != nil || len(b) != 1 || b[0].PIDNS == "" {
		t.Errorf("%+v %v", b, err)
	}
	if err := l.Down(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Error("run directory stays: ", err)
	}
	// The machine's restart looks the same to the next engine.
	l = open(t, o)
	if c, err := l.Get(t.Context(), "ticker"); err != nil || c.State != engine.Exited || c.ExitCode != 137 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestMonitorKilled(t *testing.T) {
	o, logs := options(t), t.TempDir()
	killHard(t, startChild(t, o, logs))
	l := open(t, o)
	talk := func(word string) {
		t.Helper()
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, w := io.Pipe()
		go io.WriteString(w, word+"\n")
		err := l.Attach(ctx, "terminal", engine.Streams{Stdin: r, Stdout: writerFunc(func(p []byte) (int, error) {
			n, err := out.Write(p)
			if strings.Contains(out.String(), "got "+word) {
				cancel()
			}
			return n, err
		})})
		if err != nil || !strings.Contains(out.String(), "got "+word) {
			t.Errorf("%q %v", out.String(), err)
		}
	}
	talk("one")
	pid := monitorPID(t, l)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	nextTick(t, filepath.Join(logs, "ticker.log"))
	if now := monitorPID(t, l); now == pid {
		t.Fatal("the monitor lives")
	}
	letGo(t, mustGet(t, l, "waiter").PID)
	if c := waitExit(t, l, "waiter"); c.ExitCode != 9 && c.ExitCode != unknownExit {
		t.Errorf("%+v", c)
	} else {
		t.Logf("exit of an adopted container: %d %s", c.ExitCode, c.Message)
	}
	if b, _ := os.ReadFile(filepath.Join(logs, "waiter.log")); !strings.Contains(string(b), "F bye\n") {
		t.Errorf("%q", b)
	}
	if c := mustGet(t, l, "ticker"); c.State != engine.Running {
		t.Errorf("%+v", c)
	}
	if err := l.Stop(t.Context(), "ticker", 0); err != nil {
		t.Fatal(err)
	}
	if c := mustGet(t, l, "ticker"); c.ExitCode != 137 && c.ExitCode != unknownExit {
		t.Errorf("%+v", c)
	}
	ticksWithoutGap(t, filepath.Join(logs, "ticker.log"))
}

// TestTerminalSurvivesMonitor: skiff keeps a copy of the terminal for the next
// monitor.
func TestTerminalSurvivesMonitor(t *testing.T) {
	l := open(t, options(t))
	load(t, l)
	_, err := l.Create(t.Context(), engine.ContainerSpec{ID: "t", Image: "busybox", TTY: true, Stdin: true, Command: []string{"sh", "-c", "read x; echo got $x; exit 6"}})
	if err == nil {
		err = l.Start(t.Context(), "t")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(monitorPID(t, l), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for {
		// Until the next monitor has the terminal, attaching finds nobody.
		err := l.Attach(t.Context(), "t", engine.Streams{Stdin: strings.NewReader("hello\n"), Stdout: &out})
		if err == nil && out.Len() > 0 {
			break
		}
		if mustGet(t, l, "t").State == engine.Exited {
			t.Fatalf("it ended: %+v", mustGet(t, l, "t"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if c := waitExit(t, l, "t"); c.ExitCode != 6 || !strings.Contains(out.String(), "got hello") {
		t.Errorf("%+v %q", c, out.String())
	}
}

// TestUpgrade: a newer skiff brings another monitor; containers run on under it
// and stay its children.
func TestUpgrade(t *testing.T) {
	o, logs := options(t), t.TempDir()
	killHard(t, startChild(t, o, logs))
	o.Monitor = func() ([]byte, error) {
		b, err := program()
		return append(b, "another build"...), err
	}
	l := open(t, o)
	nextTick(t, filepath.Join(logs, "ticker.log"))
	ticksWithoutGap(t, filepath.Join(logs, "ticker.log"))
	letGo(t, mustGet(t, l, "waiter").PID)
	if c := waitExit(t, l, "waiter"); c.ExitCode != 9 {
		t.Errorf("%+v", c)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := l.Attach(ctx, "terminal", engine.Streams{Stdin: strings.NewReader("x\n"), Stdout: writerFunc(func(p []byte) (int, error) {
		n, err := out.Write(p)
		if strings.Contains(out.String(), "got x") {
			cancel()
		}
		return n, err
	})})
	if err != nil || !strings.Contains(out.String(), "got x") {
		log, _ := os.ReadFile(filepath.Join(o.RunDir, "monitor.log"))
		t.Errorf("%q %v; %+v; %s", out.String(), err, mustGet(t, l, "terminal"), log)
	}
}

// TestReboot: RunDir, processes and groups are gone, as after the machine's
// restart.
func TestReboot(t *testing.T) {
	o, logs := options(t), t.TempDir()
	killHard(t, startChild(t, o, logs))
	l := open(t, o)
	pid := monitorPID(t, l)
	l.Close()
	unix.Kill(pid, unix.SIGKILL)
	if err := l.cgroups.Kill("/skiff-" + o.Instance); err != nil {
		t.Fatal(err)
	}
	if err := retryBusy(func() error { return l.cgroups.Remove("/skiff-" + o.Instance) }); err != nil {
		t.Fatal(err)
	}
	if err := clearRunDir(o.RunDir); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	for id, state := range map[string]engine.State{"ticker": engine.Exited, "waiter": engine.Exited, "created": engine.Created} {
		if c := mustGet(t, l, id); c.State != state || (state == engine.Exited && (c.Message != messageReboot || c.ExitCode != unknownExit)) {
			t.Errorf("%+v", c)
		}
	}
	if b, err := l.Sandboxes(t.Context()); err != nil || len(b) != 0 {
		t.Errorf("%v %v", b, err)
	}
	if err := l.Start(t.Context(), "waiter"); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func mustGet(t testing.TB, l *Local, id string) *engine.Container {
	t.Helper()
	c, err := l.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func load(t testing.TB, l *Local) {
	t.Helper()
	if _, err := l.Images().Load(context.Background(), bytes.NewReader(enginetest.Busybox(t, "busybox")), ""); err != nil {
		t.Fatal(err)
	}
}
