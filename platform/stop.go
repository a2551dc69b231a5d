package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/engine/local"
	"skiff.dev/skiff/telemetry"
)

// stopGrace is how long containers have to end by themselves when everything
// stops.
const stopGrace = 10 * time.Second

// stopContainers ends every container and what the network holds for them.
func (p *process) stopContainers(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace+20*time.Second)
	defer cancel()
	var errs []error
	if p.engine != nil {
		errs = append(errs, p.engine.Down(ctx, grace))
	}
	return errors.Join(append(errs, wipeNetwork(p.cfg))...)
}

// down stops the instance with its containers. was tells whether anything ran.
func down(ctx context.Context, c *Config, grace time.Duration) (was bool, err error) {
	if err := absolute(c); err != nil {
		return false, err
	}
	err = localapi.NewClient(c.Run).Stop(ctx, localapi.StopRequest{Containers: true, Grace: grace})
	if err == nil {
		return true, waitUnlocked(ctx, c.Data)
	}
	if !errors.Is(err, localapi.ErrNotRunning) {
		return false, err
	}
	// A crash leaves containers without skiff.
	if !exists(engineRoot(c)) || os.Geteuid() != 0 {
		return false, nil
	}
	p, undo, err := leftovers(ctx, c)
	if err != nil {
		return false, err
	}
	defer undo()
	running, err := p.engine.List(ctx, nil)
	if err != nil {
		return false, err
	}
	return len(running) > 0, p.stopContainers(grace)
}

// leftovers opens what an instance that does not run has left.
func leftovers(ctx context.Context, c *Config) (p *process, undo func(), err error) {
	p = &process{cfg: c, instance: instance(c.Data), tel: telemetry.Discard()}
	if p.lock, err = lockDir(c.Data); err != nil {
		return nil, nil, err
	}
	closeEngine, err := p.openEngine(ctx)
	if err != nil {
		p.lock.Close()
		return nil, nil, err
	}
	return p, func() { closeEngine(); p.lock.Close() }, nil
}

// reset removes every trace of the instance.
func reset(ctx context.Context, c *Config) error {
	if _, err := down(ctx, c, time.Second); err != nil {
		return fmt.Errorf("stop it first: %w", err)
	}
	p := &process{cfg: c, instance: instance(c.Data), tel: telemetry.Discard()}
	if err := local.Wipe(ctx, p.engineOptions()); err != nil {
		return fmt.Errorf("remove containers and images: %w", err)
	}
	if err := wipeNetwork(c); err != nil {
		return err
	}
	if err := releaseRanges(c.Data); err != nil {
		return err
	}
	for _, dir := range []string{c.Run, c.Data} {
		if err := unmountBelow(dir); err != nil {
			return err
		}
		if err := removeContents(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeContents deletes what is in dir, and dir itself unless something is
// mounted on it.
func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// waitUnlocked returns when no process holds the data directory.
func waitUnlocked(ctx context.Context, dir string) error {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	got := make(chan error, 1)
	go func() {
		defer f.Close()
		got <- unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return &Fault{What: "skiff does not stop", Do: "read " + filepath.Join(dir, "skiff.log") + ", then end the process that " + filepath.Join(dir, "lock") + " names"}
	}
}

func absolute(c *Config) error {
	for _, d := range []*string{&c.Data, &c.Run} {
		abs, err := filepath.Abs(*d)
		if err != nil {
			return err
		}
		*d = abs
	}
	return nil
}
