package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/engine"
)

// Run is the suite for an engine that really runs processes. open returns an
// empty engine that has the image of Busybox as busybox:latest; it cleans up
// after the test.
func Run(t *testing.T, open func(t *testing.T) engine.Engine) {
	e := open(t)
	for _, c := range []struct {
		name string
		f    func(*suite)
	}{
		{"output and exit code", output}, {"terminal", terminal}, {"start errors", startErrors},
		{"users", users}, {"environment", environment}, {"security", security},
		{"resources", resources}, {"out of memory", outOfMemory}, {"exec", execs}, {"attach", attach},
		{"stop", stop}, {"log rotation", rotation}, {"sandbox", sandboxes}, {"nested groups", nestedGroups}, {"abilities", abilities}, {"lifecycle", lifecycle},
		{"mounts", mounts}, {"groups", groups}, {"images", imageUse},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(&suite{t, e, t.Context()}) })
	}
}

type suite struct {
	*testing.T
	e   engine.Engine
	ctx context.Context
}

// sh is a container that runs a script.
func sh(script string) engine.ContainerSpec {
	return engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox", "sh", "-c", script}}
}

// start creates and starts a container, which is removed at the test's end.
func (s *suite) start(spec engine.ContainerSpec) string {
	s.Helper()
	if spec.LogPath == "" {
		spec.LogPath = filepath.Join(s.TempDir(), "log", "0.log")
	}
	c, err := s.e.Create(s.ctx, spec)
	if err != nil {
		s.Fatal(err)
	}
	id := c.Spec.ID
	s.Cleanup(func() {
		if err := s.e.Remove(context.Background(), id, true); err != nil && !errors.Is(err, engine.ErrNotFound) {
			s.Error(err)
		}
	})
	if err := s.e.Start(s.ctx, id); err != nil {
		s.Fatal(err)
	}
	return id
}

// wait waits for the end of a container.
func (s *suite) wait(id string) *engine.Container {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	events := s.e.Events(ctx)
	for {
		c, err := s.e.Get(ctx, id)
		if err != nil {
			s.Fatal(err)
		}
		if c.State == engine.Exited {
			return c
		}
		if _, ok := <-events; !ok {
			s.Fatalf("container %s does not end: %+v", id, c)
		}
	}
}

// run runs a script to its end and returns what it printed.
func (s *suite) run(spec engine.ContainerSpec) (*engine.Container, string) {
	s.Helper()
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	c := s.wait(s.start(spec))
	b, err := os.ReadFile(spec.LogPath)
	if err != nil {
		s.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) < 4 {
			s.Fatalf("not a log line: %q", line)
		}
		out.WriteString(f[3])
		if f[2] == "F" {
			out.WriteByte('\n')
		}
	}
	return c, out.String()
}

func (s *suite) printed(spec engine.ContainerSpec, want string) {
	s.Helper()
	c, out := s.run(spec)
	if c.ExitCode != 0 || out != want {
		s.Errorf("exit code %d, output %q, want %q", c.ExitCode, out, want)
	}
}

func output(s *suite) {
	spec := sh("echo out; echo err >&2; printf end; exit 7")
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	c := s.wait(s.start(spec))
	if c.ExitCode != 7 || c.FinishedAt.Before(c.StartedAt) || c.PID != 0 {
		s.Errorf("%+v", c)
	}
	b, _ := os.ReadFile(spec.LogPath)
	for _, want := range []string{" stdout F out\n", " stderr F err\n", " stdout F end\n"} {
		if !strings.Contains(string(b), want) {
			s.Errorf("no %q in %q", want, b)
		}
	}
	if c, _ := s.run(sh("kill -9 $$; sleep 1")); c.ExitCode != 0 && c.ExitCode != 137 {
		s.Errorf("exit code %d", c.ExitCode)
	}
	long := strings.Repeat("x", 40000)
	s.printed(sh("printf "+long), long+"\n")
}

func terminal(s *suite) {
	spec := sh("test -t 0 && test -t 1 && echo terminal; stty size; read x; echo got $x; stty size")
	spec.TTY, spec.Stdin = true, true
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	id := s.start(spec)
	in, w := io.Pipe()
	sizes := make(chan engine.Size, 1)
	sizes <- engine.Size{Width: 100, Height: 30}
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- s.e.Attach(s.ctx, id, engine.Streams{Stdin: in, Stdout: &out, Resize: sizes})
	}()
	// The shell prints the size when it has read the line.
	if _, err := io.WriteString(w, "hello\n"); err != nil {
		s.Fatal(err)
	}
	if err := <-done; err != nil {
		s.Fatal(err)
	}
	w.Close()
	s.wait(id)
	if !strings.Contains(out.String(), "30 100") {
		s.Errorf("attached: %q", out.String())
	}
	b, _ := os.ReadFile(spec.LogPath)
	if !strings.Contains(string(b), "stdout F terminal\r\n") {
		s.Errorf("log %q", b)
	}
}

func startErrors(s *suite) {
	for command, code := range map[string]int{"/nothing": 127, "nothing": 127, "/notexec": 126, "/bin": 126} {
		c, err := s.e.Create(s.ctx, engine.ContainerSpec{Image: "busybox", Command: []string{command}})
		if err != nil {
			s.Fatal(err)
		}
		err = s.e.Start(s.ctx, c.Spec.ID)
		var se *engine.StartError
		if !errors.As(err, &se) || se.ExitCode != code {
			s.Errorf("%s: %v (%+v), want code %d", command, err, se, code)
		} else {
			s.Log(se)
		}
		if c, _ := s.e.Get(s.ctx, c.Spec.ID); c.State != engine.Created {
			s.Errorf("%s: state %s", command, c.State)
		}
		if err := s.e.Remove(s.ctx, c.Spec.ID, false); err != nil {
			s.Error(err)
		}
	}
	for _, spec := range []engine.ContainerSpec{
		{Image: "busybox", User: "nobodyhere"}, {Image: "busybox", Seccomp: "/does/not/exist"},
		{Image: "busybox", ID: "../x"}, {Image: "busybox", CgroupParent: "../.."},
		{Image: "busybox", Mounts: []engine.Mount{{Source: "rel", Target: "/x"}}},
	} {
		if _, err := s.e.Create(s.ctx, spec); !errors.Is(err, engine.ErrInvalid) {
			s.Errorf("%+v: %v", spec, err)
		}
	}
	if _, err := s.e.Create(s.ctx, engine.ContainerSpec{Image: "none/such"}); !errors.Is(err, engine.ErrNotFound) {
		s.Error(err)
	}
	if all, err := s.e.List(s.ctx, nil); err != nil || len(all) != 0 {
		s.Errorf("left: %v, %v", all, err)
	}
}

func users(s *suite) {
	const script = "id -u; id -g; id -G; echo $HOME"
	for user, want := range map[string]string{
		"":          "0\n0\n0\n/root\n",
		"app":       "1000\n1001\n1001 77 2000\n/home/app\n",
		"1000":      "1000\n1001\n1001 77 2000\n/home/app\n",
		"1000:2000": "1000\n2000\n2000 77\n/home/app\n",
		"1234":      "1234\n0\n0 77\n/\n",
		"app:extra": "1000\n2000\n2000 77\n/home/app\n",
	} {
		spec := sh(script)
		spec.User = user
		if user != "" {
			spec.Groups = []int64{77}
		}
		s.printed(spec, want)
	}
}

func environment(s *suite) {
	spec := sh("echo $FROM $OWN $HOSTNAME; hostname; pwd")
	spec.Env, spec.WorkingDir, spec.Hostname = []string{"OWN=own", "FROM=spec"}, "/new/dir", "box"
	s.printed(spec, "spec own box\nbox\n/new/dir\n")
	s.printed(engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox"}, Args: []string{"echo", "args"}}, "args\n")
}

func security(s *suite) {
	s.printed(sh("busybox unshare -U true 2>/dev/null || echo denied; grep Seccomp: /proc/self/status"), "denied\nSeccomp:\t2\n")
	spec := sh("grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status")
	s.printed(spec, "CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\n")
	spec.CapDrop, spec.CapAdd, spec.NoNewPrivileges = []string{"ALL"}, []string{"NET_BIND_SERVICE"}, true
	s.printed(spec, "CapEff:\t0000000000000400\nNoNewPrivs:\t1\n")
	spec = sh("echo x > /file || echo readonly; echo x > /dev/shm/x && echo shm")
	spec.ReadonlyRoot = true
	c, out := s.run(spec)
	if c.ExitCode != 0 || !strings.Contains(out, "readonly") || !strings.Contains(out, "shm") {
		s.Errorf("%d %q", c.ExitCode, out)
	}
	s.printed(sh("wc -c < /proc/interrupts; echo 1 2>/dev/null > /proc/sys/vm/drop_caches || echo protected"), "0\nprotected\n")
	spec = sh("mkdir /tmp/m && mount -t tmpfs x /tmp/m && echo mounted; grep Seccomp: /proc/self/status")
	spec.Privileged = true
	s.printed(spec, "mounted\nSeccomp:\t0\n")
	spec = sh("grep Seccomp: /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj")
	spec.Seccomp, spec.OOMScoreAdj, spec.Rlimits = "Unconfined", 500, []engine.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
	s.printed(spec, "Seccomp:\t0\n100\n500\n")
	spec = sh("sysctl -n kernel.msgmax")
	spec.Sysctls = map[string]string{"kernel.msgmax": "9999"}
	s.printed(spec, "9999\n")
	spec.OOMScoreAdj = -998 // which this machine may not allow; it runs all the same
	s.printed(spec, "9999\n")
}

func mounts(s *suite) {
	dir := s.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("host\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	spec := sh("cat /a/b/f /file; echo x 2>/dev/null > /a/b/g || echo ro; echo y > /t/y && df /t | tail -n 1 | cut -c 1-5")
	spec.Mounts = []engine.Mount{
		{Source: dir, Target: "/a/b", ReadOnly: true},
		{Source: filepath.Join(dir, "f"), Target: "/file"},
		{Type: "tmpfs", Target: "/t", Options: []string{"size=1m"}},
		{Type: "tmpfs", Target: "/a"},
	}
	c, out := s.run(spec)
	if c.ExitCode != 0 || !strings.HasPrefix(out, "host\nhost\n") || !strings.HasSuffix(out, "ro\ntmpfs\n") {
		s.Errorf("%d %q", c.ExitCode, out)
	}
}

func resources(s *suite) {
	spec := sh("for i in memory.limit_in_bytes memory/memory.limit_in_bytes memory.max; do cat /sys/fs/cgroup/$i 2>/dev/null; done; sleep 1000")
	spec.Resources = engine.Resources{Memory: 64 << 20, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, Pids: 50}
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	id := s.start(spec)
	st, err := s.e.Stats(s.ctx, id)
	if err != nil || st.MemoryLimit != 64<<20 || st.Pids == 0 || st.MemoryUsage == 0 {
		s.Errorf("%+v, %v", st, err)
	}
	if err := s.e.Update(s.ctx, id, engine.Resources{Memory: 128 << 20}); err != nil {
		s.Fatal(err)
	}
	st, err = s.e.Stats(s.ctx, id)
	if err != nil || st.MemoryLimit != 128<<20 {
		s.Errorf("after update: %+v, %v", st, err)
	}
}

func outOfMemory(s *suite) {
	spec := sh("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
	spec.Resources = engine.Resources{Memory: 16 << 20, MemorySwap: 16 << 20}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	events := s.e.Events(ctx)
	id := s.start(spec)
	c := s.wait(id)
	if !c.OOMKilled || c.ExitCode != 137 {
		s.Errorf("%+v", c)
	}
	for ev := range events {
		if ev.ID == id && ev.Type == engine.EventOOM {
			return
		}
		if ev.Type == engine.EventExited && ev.ID == id {
			s.Error("no event of it before the exit")
			return
		}
	}
}

func execs(s *suite) {
	id := s.start(sh("sleep 1000"))
	run := func(spec engine.ExecSpec, stdin string) (int, string, string) {
		s.Helper()
		var out, errs bytes.Buffer
		st := engine.Streams{Stdout: &out, Stderr: &errs}
		if stdin != "" {
			st.Stdin = strings.NewReader(stdin)
		}
		code, err := s.e.Exec(s.ctx, id, spec, st)
		if err != nil {
			s.Fatal(err)
		}
		return code, out.String(), errs.String()
	}
	code, out, errs := run(engine.ExecSpec{Args: []string{"/bin/busybox", "sh", "-c", "cat; echo $A $FROM; id -u; pwd; echo e >&2; exit 3"},
		Env: []string{"A=b"}, User: "app", WorkingDir: "/tmp"}, "input\n")
	if code != 3 || out != "input\nb image\n1000\n/tmp\n" || errs != "e\n" {
		s.Errorf("%d %q %q", code, out, errs)
	}
	if code, out, _ := run(engine.ExecSpec{Args: []string{"sh", "-c", "stty size; test -t 1 && echo tty"}, TTY: true}, ""); code != 0 || !strings.Contains(out, "tty\r\n") {
		s.Errorf("%d %q", code, out)
	}
	sizes := make(chan engine.Size, 1)
	sizes <- engine.Size{Width: 90, Height: 20}
	var b bytes.Buffer
	// crun 1.8 has the size from us alone, which comes when the process may run
	// already.
	until := engine.ExecSpec{Args: []string{"sh", "-c", "until stty size 2>/dev/null | grep '20 90'; do sleep 0.01; done"}, TTY: true}
	if _, err := s.e.Exec(s.ctx, id, until, engine.Streams{Stdout: &b, Resize: sizes}); err != nil || b.String() != "20 90\r\n" {
		s.Errorf("%q %v", b.String(), err)
	}
	_, err := s.e.Exec(s.ctx, id, engine.ExecSpec{Args: []string{"/nothing"}}, engine.Streams{})
	var se *engine.StartError
	if !errors.As(err, &se) || se.ExitCode != 127 {
		s.Errorf("%v", err)
	}
	big := strings.Repeat("0123456789", 100000)
	if _, out, _ := run(engine.ExecSpec{Args: []string{"busybox", "cat"}}, big); out != big {
		s.Errorf("%d bytes came back of %d", len(out), len(big))
	}
	ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := s.e.Exec(ctx, id, engine.ExecSpec{Args: []string{"busybox", "sleep", "1000"}}, engine.Streams{}); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("%v", err)
	}
	if err := s.e.Stop(s.ctx, id, 0); err != nil {
		s.Fatal(err)
	}
	if _, err := s.e.Exec(s.ctx, id, engine.ExecSpec{Args: []string{"true"}}, engine.Streams{}); !errors.Is(err, engine.ErrNotRun) {
		s.Errorf("%v", err)
	}
}

func attach(s *suite) {
	spec := sh("cat; echo over")
	spec.Stdin, spec.StdinOnce = true, true
	id := s.start(spec)
	var out bytes.Buffer
	if err := s.e.Attach(s.ctx, id, engine.Streams{Stdin: strings.NewReader("some input\n"), Stdout: &out}); err != nil {
		s.Fatal(err)
	}
	if out.String() != "some input\nover\n" {
		s.Errorf("%q", out.String())
	}
	if c := s.wait(id); c.ExitCode != 0 {
		s.Errorf("%+v", c)
	}
	spec = sh("read a; echo $a; read b; echo $b")
	spec.Stdin = true
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	id = s.start(spec)
	for _, line := range []string{"one\n", "two\n"} {
		if err := s.e.Attach(s.ctx, id, engine.Streams{Stdin: strings.NewReader(line)}); err != nil {
			s.Fatal(err)
		}
	}
	s.wait(id)
	if b, _ := os.ReadFile(spec.LogPath); !strings.Contains(string(b), "F one\n") || !strings.Contains(string(b), "F two\n") {
		s.Errorf("%q", b)
	}
}

func stop(s *suite) {
	id := s.start(sh("trap 'echo bye; exit 5' TERM; while true; do sleep 0.05; done"))
	var out bytes.Buffer
	// It answers signals once the shell runs its loop.
	if _, err := s.e.Exec(s.ctx, id, engine.ExecSpec{Args: []string{"sh", "-c", "until ps | grep -q 'sleep 0.05'; do true; done"}}, engine.Streams{Stdout: &out}); err != nil {
		s.Fatal(err)
	}
	if err := s.e.Stop(s.ctx, id, 10*time.Second); err != nil {
		s.Fatal(err)
	}
	if c, _ := s.e.Get(s.ctx, id); c.State != engine.Exited || c.ExitCode != 5 {
		s.Errorf("%+v", c)
	}
	id = s.start(sh("sleep 1000 & sleep 1000"))
	if err := s.e.Stop(s.ctx, id, 50*time.Millisecond); err != nil {
		s.Fatal(err)
	}
	if c, _ := s.e.Get(s.ctx, id); c.ExitCode != 137 {
		s.Errorf("%+v", c)
	}
	if err := s.e.Stop(s.ctx, id, time.Second); err != nil {
		s.Error("stopping what does not run: ", err)
	}
	if err := s.e.Signal(s.ctx, id, "HUP"); !errors.Is(err, engine.ErrNotRun) {
		s.Error(err)
	}
	// It can be started again.
	if err := s.e.Start(s.ctx, id); err != nil {
		s.Fatal(err)
	}
	if c, _ := s.e.Get(s.ctx, id); c.State != engine.Running || c.ExitCode != 0 {
		s.Errorf("%+v", c)
	}
	if err := s.e.Start(s.ctx, id); !errors.Is(err, engine.ErrRunning) {
		s.Error(err)
	}
}

func rotation(s *suite) {
	spec := sh("i=0; while test $i -lt 200; do echo line $i; i=$((i+1)); done")
	spec.LogPath, spec.LogMaxBytes, spec.LogMaxFiles = filepath.Join(s.TempDir(), "0.log"), 4096, 3
	id := s.start(spec)
	s.wait(id)
	files, _ := filepath.Glob(spec.LogPath + "*")
	if len(files) > 3 {
		s.Errorf("%v", files)
	}
	spec = sh("while true; do echo x; sleep 0.01; done")
	spec.LogPath = filepath.Join(s.TempDir(), "0.log")
	id = s.start(spec)
	if err := os.Rename(spec.LogPath, spec.LogPath+".old"); err != nil {
		s.Fatal(err)
	}
	if err := s.e.ReopenLog(s.ctx, id); err != nil {
		s.Fatal(err)
	}
	if _, err := os.Stat(spec.LogPath); err != nil {
		s.Error(err)
	}
}

func sandboxes(s *suite) {
	for _, shared := range []bool{false, true} {
		id := map[bool]string{false: "box", true: "box-shared"}[shared]
		sb, err := s.e.CreateSandbox(s.ctx, engine.SandboxSpec{ID: id, Hostname: "podname", PIDShared: shared,
			Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "2000 3000"}, CgroupParent: "pods/" + id, Resources: engine.Resources{Memory: 100 << 20}})
		if err != nil {
			s.Fatal(err)
		}
		if _, err := s.e.CreateSandbox(s.ctx, engine.SandboxSpec{ID: id}); !errors.Is(err, engine.ErrExists) {
			s.Error(err)
		}
		spec := sh("echo shared > /dev/shm/f; exec sleep 1000")
		spec.Sandbox, spec.Name = id, id+"-first"
		s.start(spec)
		spec = sh("hostname; cat /proc/sys/net/ipv4/ip_local_port_range; until cat /dev/shm/f 2>/dev/null; do sleep 0.01; done; ip addr show lo | grep -c 127.0.0.1; ps | grep -c 'sleep 1000$'")
		spec.Sandbox = id
		spec.LogPath = filepath.Join(s.TempDir(), "0.log")
		c, out := s.run(spec)
		want := "podname\n2000\t3000\nshared\n1\n"
		if !strings.HasPrefix(out, want) {
			s.Errorf("shared %v: %d %q, want %q", shared, c.ExitCode, out, want)
		}
		if got := strings.TrimPrefix(out, want); (got != "0\n") != shared {
			s.Errorf("shared %v: other's processes seen: %q", shared, got)
		}
		spec = sh("ps | grep -c 'sleep 1000$'")
		spec.Sandbox, spec.PIDOf = id, id+"-first"
		if c, out := s.run(spec); out == "0\n" {
			s.Errorf("shared %v: the target's processes are not seen: %d %q", shared, c.ExitCode, out)
		}
		spec.PIDOf = "unknown"
		if c, err := s.e.Create(s.ctx, spec); err == nil {
			if err := s.e.Start(s.ctx, c.Spec.ID); err == nil {
				s.Error("shares the processes of no container")
			}
		}
		ctx, cancel := context.WithCancel(s.ctx)
		events := s.e.Events(ctx)
		if err := s.e.RemoveSandbox(s.ctx, id); err != nil {
			s.Fatal(err)
		}
		cancel()
		told := 0
		for e := range events {
			if e.Type == engine.EventSandbox && e.ID == id {
				told++
			}
		}
		if told != 1 {
			s.Errorf("%d events of the sandbox's end", told)
		}
		if _, err := os.Stat(sb.NetNS); !errors.Is(err, os.ErrNotExist) {
			s.Errorf("%v", err)
		}
	}
	if err := s.e.RemoveSandbox(s.ctx, "unknown"); err != nil {
		s.Error(err)
	}
	if all, err := s.e.Sandboxes(s.ctx); err != nil || len(all) != 0 {
		s.Errorf("%v %v", all, err)
	}
}

func groups(s *suite) {
	g, ok := s.e.(engine.Groups)
	if !ok {
		s.Skip("the engine has no groups")
	}
	if _, err := g.GroupStats(s.ctx, "class"); !errors.Is(err, engine.ErrNotFound) {
		s.Error(err)
	}
	if err := g.SetGroup(s.ctx, "class", engine.Resources{CPUShares: 2, Memory: 200 << 20}); err != nil {
		s.Fatal(err)
	}
	spec := sh("sleep 1000")
	spec.CgroupParent = "class/pod"
	s.start(spec)
	if st, err := g.GroupStats(s.ctx, "class"); err != nil || st.MemoryLimit != 200<<20 || st.MemoryUsage == 0 || st.Pids == 0 {
		s.Errorf("%+v %v", st, err)
	}
	if err := g.SetGroup(s.ctx, "../x", engine.Resources{}); !errors.Is(err, engine.ErrInvalid) {
		s.Error(err)
	}
}

func lifecycle(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	events := s.e.Events(ctx)
	spec := sh("exit 4")
	spec.Name, spec.Labels = "named", map[string]string{"a": "1", "b": "2"}
	id := s.start(spec)
	s.wait(id)
	if _, err := s.e.Create(s.ctx, spec); !errors.Is(err, engine.ErrExists) {
		s.Error(err)
	}
	for want, n := range map[string]int{"1": 1, "2": 0} {
		if all, err := s.e.List(s.ctx, map[string]string{"a": want}); err != nil || len(all) != n {
			s.Errorf("%v %v", all, err)
		}
	}
	if c, err := s.e.Get(s.ctx, "named"); err != nil || c.Spec.ID != id {
		s.Errorf("%v", err)
	}
	if err := s.e.Remove(s.ctx, id, false); err != nil {
		s.Fatal(err)
	}
	if _, err := s.e.Get(s.ctx, id); !errors.Is(err, engine.ErrNotFound) {
		s.Error(err)
	}
	if err := s.e.Remove(s.ctx, id, true); !errors.Is(err, engine.ErrNotFound) {
		s.Error(err)
	}
	cancel()
	var got []string
	for e := range events {
		if e.ID == id {
			got = append(got, string(e.Type))
		}
	}
	if g := strings.Join(got, " "); g != "created started exited removed" {
		s.Errorf("events: %s", g)
	}
}

func imageUse(s *suite) {
	id := s.start(sh("sleep 1000"))
	if err := s.e.Images().Remove(s.ctx, "busybox"); !errors.Is(err, engine.ErrInUse) {
		s.Error(err)
	}
	if err := s.e.Remove(s.ctx, id, false); !errors.Is(err, engine.ErrRunning) {
		s.Error(err)
	}
	if err := s.e.Remove(s.ctx, id, true); err != nil {
		s.Error(err)
	}
	img, err := s.e.Images().Get(s.ctx, "busybox")
	if err != nil || img.Config.Config.Labels["l"] != "v" {
		s.Fatal(err)
	}
	if err := s.e.Images().Remove(s.ctx, img.ID[7:20]); err != nil {
		s.Error(err)
	}
	if _, err := s.e.Images().Get(s.ctx, "busybox"); !errors.Is(err, engine.ErrNotFound) {
		s.Error(err)
	}
}
