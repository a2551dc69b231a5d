package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// dockerEngine is one engine that the docker client is pointed at.
type dockerEngine struct {
	name   string // "" for ours, whose figures have budgets
	client string
	socket string
	pids   func() ([]int, error) // of all that the engine consists of, containers aside
	served func(dir string) (addr string, stop func(), err error)
}

// benchDocker measures engines by the real docker client; where Debian's docker.io
// is installed its dockerd meets each work too, the two in turns.
func benchDocker(ctx context.Context, t *table, o *options, i *instance) (err error) {
	client, err := exec.LookPath(o.docker)
	if err != nil {
		return fmt.Errorf("the docker client: %w", err)
	}
	ours := &dockerEngine{client: client, socket: filepath.Join(i.dir, "run", "docker.sock"), served: serveLayers}
	ours.pids = func() ([]int, error) { return i.pids(), nil }
	engines := []*dockerEngine{ours}
	ref, err := startDockerd(ctx, filepath.Join(i.dir, "dockerd"))
	switch {
	case errors.Is(err, exec.ErrNotFound):
		fmt.Fprintln(t.Out, "docker.io is not installed: no figures of dockerd")
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, ref.stop()) }()
		engines = append(engines, ref.engine(client))
	}
	b := &dockerBench{t: t, dir: i.dir, engines: engines}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, work := range b.works() {
		if o.work != "" && o.work != work.name {
			continue
		}
		if err := work.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

type dockerWork struct {
	name string
	do   func(context.Context) error
}

// works are in an order in which none is in the way of the next.
func (b *dockerBench) works() []dockerWork {
	return []dockerWork{
		{"run", b.run}, {"exec", b.exec}, {"idle", b.idle}, {"parallel", b.parallel},
		{"rebuild", b.rebuild}, {"copy", b.copy}, {"pull", b.pull},
	}
}

// prepare gives each engine the small image, and lets it run once: the first makes
// what all share.
func (b *dockerBench) prepare(ctx context.Context) error {
	for _, e := range b.engines {
		if err := e.buildSmall(ctx, filepath.Join(b.dir, "small")); err != nil {
			return err
		}
		if _, err := e.docker(ctx, "run", "--rm", smallImage); err != nil {
			return err
		}
	}
	return nil
}

type dockerBench struct {
	t       *table
	dir     string
	engines []*dockerEngine
}

// row prints one engine's figure; budgets are ours alone.
func (b *dockerBench) row(e *dockerEngine, what string, figure, budget float64, unit string, more bool) {
	if e.name != "" {
		what, budget = "  the same, "+e.name, 0
	}
	b.t.row(what, figure, budget, unit, more)
}

// docker runs the client and returns what it printed.
func (e *dockerEngine) docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket, "DOCKER_BUILDKIT=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

// timed is how long one call of the client takes, its own start included.
func (e *dockerEngine) timed(ctx context.Context, args ...string) (time.Duration, error) {
	begin := time.Now()
	_, err := e.docker(ctx, args...)
	return time.Since(begin), err
}

// inTurns lets each engine do the work n times, one after the other, and prints the
// median of each.
func (b *dockerBench) inTurns(n int, what string, budget float64, work func(*dockerEngine) (time.Duration, error)) error {
	took := make([][]time.Duration, len(b.engines))
	for range n {
		for i, e := range b.engines {
			d, err := work(e)
			if err != nil {
				return err
			}
			took[i] = append(took[i], d)
		}
	}
	for i, e := range b.engines {
		b.row(e, what, median(took[i]).Seconds(), budget, "s", false)
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

const smallImage = "skiff/bench-small:1"

// buildSmall gives the engine an image of Debian's static busybox.
func (e *dockerEngine) buildSmall(ctx context.Context, dir string) error {
	if err := writeContext(dir, smallImage, nil); err != nil {
		return err
	}
	_, err := e.docker(ctx, "build", "-q", "-t", smallImage, dir)
	return err
}

// writeContext makes a build context of busybox and more files.
func writeContext(dir, name string, more map[string][]byte) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	text := "FROM scratch\nLABEL name=" + name + "\nCOPY busybox /busybox\nCMD [\"/busybox\",\"true\"]\n"
	files := map[string][]byte{"busybox": busybox}
	for n, b := range more {
		files[n] = b
		text += "COPY " + n + " /" + n + "\n"
	}
	files["Dockerfile"] = []byte(text)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for n, b := range files {
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// run is `docker run --rm` of the small image, from the client's start to its end.
func (b *dockerBench) run(ctx context.Context) error {
	err := b.inTurns(20, "docker run --rm of a 2 MB image, p50", 0.08, func(e *dockerEngine) (time.Duration, error) {
		return e.timed(ctx, "run", "--rm", smallImage)
	})
	if err != nil {
		return err
	}
	d, err := b.engines[0].timed(ctx, "version", "--format", "{{.Server.Version}}")
	b.t.row("  of which the client (docker version)", d.Seconds(), 0, "s", false)
	return err
}

func (b *dockerBench) exec(ctx context.Context) error {
	for _, e := range b.engines {
		if _, err := e.docker(ctx, "run", "-d", "--name", "bench-exec", smallImage, "/busybox", "sleep", "100000"); err != nil {
			return err
		}
	}
	err := b.inTurns(20, "docker exec, p50", 0.05, func(e *dockerEngine) (time.Duration, error) {
		return e.timed(ctx, "exec", "bench-exec", "/busybox", "true")
	})
	if err != nil {
		return err
	}
	for _, e := range b.engines {
		if _, err := e.docker(ctx, "rm", "-f", "bench-exec"); err != nil {
			return err
		}
	}
	return nil
}

// parallel is 50 clients that each start a container at the same time, until the last
// has its answer.
func (b *dockerBench) parallel(ctx context.Context) error {
	return b.inTurns(3, "50 containers started at once", 2, func(e *dockerEngine) (time.Duration, error) {
		begin := time.Now()
		err := e.startMany(ctx, 50, 50)
		took := time.Since(begin)
		return took, errors.Join(err, e.removeAll(ctx))
	})
}

// startMany starts n containers, so many at once.
func (e *dockerEngine) startMany(ctx context.Context, n, atOnce int) error {
	slots, errs := make(chan struct{}, atOnce), make(chan error, n)
	for range n {
		slots <- struct{}{}
		go func() {
			_, err := e.docker(ctx, "run", "-d", smallImage, "/busybox", "sleep", "100000")
			<-slots
			errs <- err
		}()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// removeAll removes the engine's containers, also after an interrupt.
func (e *dockerEngine) removeAll(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	ids, err := e.docker(ctx, "ps", "-aq")
	if err != nil || ids == "" {
		return err
	}
	_, err = e.docker(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	return err
}
