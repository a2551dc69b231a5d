package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/engine/wholefile"
	"skiff.dev/skiff/kernel/cgroup"
)

// ociRuntime is the program that makes containers.
type ociRuntime struct {
	Path, Version string
	// Hide is version 2's control groups beside version 1's, which crun refuses to
	// see together.
	Hide string
	// Stamp tells whether the program is still the one that was tried.
	Stamp string
}

// ErrNoRuntime says what to install.
var ErrNoRuntime = errors.New("no OCI runtime works here: install crun (or runc), as by: apt-get install crun")

// RuntimeError is an ErrNoRuntime that tells why each of those tried does not do.
type RuntimeError struct{ Tried []error }

func (e *RuntimeError) Error() string {
	return errors.Join(append([]error{ErrNoRuntime}, e.Tried...)...).Error()
}

// Is makes it an ErrNoRuntime.
func (e *RuntimeError) Is(target error) bool { return target == ErrNoRuntime }

// chooseRuntime takes the runtime that was found to work in this run of the
// machine, or tries those that there are: crun first, since it starts a container
// in a third of runc's time.
func (l *Local) chooseRuntime(ctx context.Context) (*ociRuntime, error) {
	memory := filepath.Join(l.o.RunDir, "runtime.json")
	candidates := []string{"crun", "runc"}
	if l.o.Runtime != "" {
		candidates = []string{l.o.Runtime}
	}
	var why []error
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			why = append(why, err)
			continue
		}
		r := &ociRuntime{Path: path, Stamp: stamp(path)}
		var known ociRuntime
		if b, err := os.ReadFile(memory); err == nil && json.Unmarshal(b, &known) == nil && known.Path == path && known.Stamp == r.Stamp {
			return &known, nil
		}
		r.Version = runtimeVersion(ctx, path)
		if strings.HasPrefix(r.Version, "crun") && l.cgroups.Version() == 1 {
			r.Hide = hybridMount()
		}
		if err := l.try(ctx, r); err != nil {
			why = append(why, fmt.Errorf("%s: %w", path, err))
			continue
		}
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		return r, wholefile.Replace(memory, b, 0o600)
	}
	return nil, &RuntimeError{why}
}

func stamp(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %s", st.Size(), st.ModTime().UTC().Format(time.RFC3339Nano))
}

func runtimeVersion(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

// hybridMount is where version 2's groups are mounted below version 1's, or "".
func hybridMount() string {
	const p = cgroup.DefaultMount + "/unified"
	var st unix.Statfs_t
	if unix.Statfs(p, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return ""
	}
	return p
}

// call is a call of the runtime with its files in dir.
func (r *ociRuntime) call(root, dir, prefix string, args ...string) wire.Runtime {
	w := wire.Runtime{
		Log: filepath.Join(dir, prefix+"runtime.log"),
		PID: filepath.Join(dir, prefix+"pid"),
	}
	w.Args = append([]string{r.Path, "--root", root, "--log", w.Log, "--log-format", "json"}, args...)
	if strings.HasPrefix(r.Version, "crun") {
		w.Args = append([]string{r.Path, "--root", root, "--cgroup-manager=cgroupfs", "--log=" + w.Log, "--log-format=json"}, args...)
	}
	if r.Hide != "" {
		w.HideMount, w.HideParent = r.Hide, filepath.Dir(r.Hide)
	}
	return w
}

// run is the call that runs a container and leaves it.
func (r *ociRuntime) run(root, dir, id string, tty bool) wire.Runtime {
	args := []string{"run", "--detach", "--bundle", dir, "--pid-file", filepath.Join(dir, "pid")}
	if tty {
		args = append(args, "--console-socket", "console.sock")
	}
	return r.call(root, dir, "", append(args, id)...)
}

// exec is the call that runs a further process, described in dir/process.json.
func (r *ociRuntime) exec(root, dir, id string, tty bool) wire.Runtime {
	args := []string{"exec", "--detach", "--process", filepath.Join(dir, "process.json"), "--pid-file", filepath.Join(dir, "pid")}
	if tty {
		args = append(args, "--console-socket", "console.sock")
	}
	return r.call(root, dir, "", append(args, id)...)
}

const probeID = "skiff-probe"

// try runs a container that does nothing, with all that ours have: limits,
// capabilities, seccomp. The monitor's program is what it runs.
func (l *Local) try(ctx context.Context, r *ociRuntime) (err error) {
	dir := filepath.Join(l.o.RunDir, "probe")
	group := l.o.CgroupRoot + "/probe"
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir), os.RemoveAll(filepath.Join(l.runtimeRoot(), probeID)),
			retryBusy(func() error { return l.cgroups.Remove(group) }))
	}()
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o711); err != nil {
		return err
	}
	program, err := l.o.Monitor()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs", "probe"), program, 0o755); err != nil {
		return err
	}
	spec := &engine.ContainerSpec{Command: []string{"/probe"}, Resources: engine.Resources{Memory: 64 << 20, CPUShares: 128, Pids: 64}}
	cfg, err := bundle.Config(bundle.Input{Spec: spec, Image: &imagespec.ImageConfig{}, Root: filepath.Join(dir, "rootfs"), Cgroup: group}, l.machine)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "config.json"), cfg); err != nil {
		return err
	}
	start := &wire.Start{ID: probeID, Dir: dir, StateDir: dir, Runtime: r.run(l.runtimeRoot(), dir, probeID, false)}
	if _, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpStart, Start: start}); err != nil {
		l.cgroups.Kill(group)
		return err
	}
	for {
		_, err := l.mon.Call(ctx, &wire.Request{Op: wire.OpForget, ID: probeID})
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
	var exit wire.Exit
	if err := readJSON(filepath.Join(dir, "exit.json"), &exit); err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("a container that does nothing exits with %d", exit.Code)
	}
	return nil
}
