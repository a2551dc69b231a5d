package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skiff.dev/skiff/kernel/cgroup"
	"skiff.dev/skiff/kernel/namespace"
	"skiff.dev/skiff/kernel/netns"
)

// dockerd is Debian's docker.io with a containerd of its own, in directories of its
// own and in a network namespace of its own, so that nothing of this machine's
// bridges and firewall is touched.
type dockerd struct {
	dir, name string
	running   []*child
	ns        *netns.Namespace
}

// child is a program that runs.
type child struct {
	process *os.Process
	ended   chan struct{} // closed when err is there
	err     error
}

const dockerdGroup = "/skiff-bench-dockerd"

// startDockerd returns exec.ErrNotFound where it is not installed.
func startDockerd(ctx context.Context, dir string) (_ *dockerd, err error) {
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	d := &dockerd{dir: dir, name: "dockerd"}
	if f := strings.Fields(string(version)); len(f) > 2 {
		number, _, _ := strings.Cut(strings.TrimRight(f[2], ","), "+")
		d.name = "dockerd " + number
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start dockerd: %w", err), d.stop())
		}
	}()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	if err := namespace.Pin(d.nsDir(), namespace.Spec{Net: true}); err != nil {
		return nil, err
	}
	if d.ns, err = netns.Open(filepath.Join(d.nsDir(), namespace.Net)); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "containerd"), filepath.Join(dir, "containerd-run"), d.containerd())
	if err := os.WriteFile(filepath.Join(dir, "containerd.toml"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := d.launch(ctx, d.containerd(), "containerd", "-c", filepath.Join(dir, "containerd.toml")); err != nil {
		return nil, err
	}
	return d, d.launch(ctx, d.socket(), "dockerd", "--containerd", d.containerd(), "-H", "unix://"+d.socket(),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--cgroup-parent", dockerdGroup)
}

func (d *dockerd) socket() string     { return filepath.Join(d.dir, "docker.sock") }
func (d *dockerd) containerd() string { return filepath.Join(d.dir, "containerd.sock") }
func (d *dockerd) nsDir() string      { return filepath.Join(d.dir, "ns") }

// launch starts a program in the namespace and waits until somebody answers at its
// socket.
func (d *dockerd) launch(ctx context.Context, socket, program string, args ...string) error {
	log, err := os.Create(filepath.Join(d.dir, program+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt is for this program alone
	if err := d.ns.Do(cmd.Start); err != nil {
		return err
	}
	c := &child{process: cmd.Process, ended: make(chan struct{})}
	d.running = append(d.running, c)
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-c.ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s ended: %w\n%s", program, c.err, text)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer at %s", program, socket)
}

func (d *dockerd) engine(client string) *dockerEngine {
	return &dockerEngine{name: d.name, client: client, socket: d.socket(), pids: d.pids, served: d.serve}
}

// pids are those of dockerd, containerd and the shims, which carry the directory in
// their arguments.
func (d *dockerd) pids() ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range names {
		args, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(args, []byte(d.dir+"/")) {
			continue // ended, or somebody else's
		}
		if program, _, _ := bytes.Cut(args, []byte{0}); !isDocker(string(program)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		out = append(out, pid)
	}
	return out, nil
}

func isDocker(program string) bool {
	p := filepath.Base(program)
	return p == "dockerd" || strings.HasPrefix(p, "containerd") || p == "docker-proxy"
}

// serve serves the registry inside dockerd's namespace.
func (d *dockerd) serve(dir string) (addr string, stop func(), err error) {
	err = d.ns.Do(func() error {
		var err error
		addr, stop, err = serveLayers(dir)
		return err
	})
	return addr, stop, err
}

// stop ends all that was started, the newest first.
func (d *dockerd) stop() error {
	var errs []error
	if len(d.running) == 2 {
		client, err := exec.LookPath("docker")
		if err == nil {
			err = d.engine(client).removeAll(context.Background())
		}
		errs = append(errs, err)
	}
	for i := len(d.running) - 1; i >= 0; i-- {
		c := d.running[i]
		if err := c.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		<-c.ended
	}
	if d.ns != nil {
		errs = append(errs, d.ns.Close())
	}
	errs = append(errs, namespace.Unpin(d.nsDir()))
	if tree, err := cgroup.Detect(); err == nil {
		errs = append(errs, tree.Remove(dockerdGroup))
	}
	return errors.Join(errs...)
}
