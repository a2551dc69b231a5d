package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/cli"
	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/engine/local"
	"skiff.dev/skiff/telemetry"
)

// stopGrace is how long containers have to end by themselves when everything
// stops.
const stopGrace = 10 * time.Second

// stopContainers ends every container and takes away what pods have on the machine.
func (p *process) stopContainers(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace+20*time.Second)
	defer cancel()
	var errs []error
	if p.engine != nil {
		errs = append(errs, p.engine.Down(ctx, grace))
	}
	// The volumes of pods: what is in memory goes with them, as by a reboot.
	errs = append(errs, unmountBelow(filepath.Join(p.cfg.Data, "pods")))
	return errors.Join(append(errs, wipeNetwork(p.cfg))...)
}

// down stops the instance with its containers. was tells whether anything ran.
func down(ctx context.Context, c *Config, grace time.Duration) (was bool, err error) {
	if err := needRoot("down"); err != nil {
		return false, err
	}
	was, err = stopProcess(ctx, c, grace)
	if err != nil {
		return was, err
	}
	if !exists(c.Data) {
		return was, nil
	}
	lock, err := takeStopped(c.Data)
	if err != nil {
		return was, err
	}
	defer lock.Close()
	// A crash leaves containers and network without skiff.
	p := &process{cfg: c, instance: c.Instance(), tel: telemetry.Discard()}
	if !exists(p.engineOptions().RunDir) {
		return was, p.stopContainers(grace)
	}
	closeEngine, err := p.openEngine(ctx)
	if err != nil {
		return was, err
	}
	defer closeEngine()
	return was || p.adopted, p.stopContainers(grace)
}

// stopProcess ends the running skiff, if there is one, with its containers.
func stopProcess(ctx context.Context, c *Config, grace time.Duration) (was bool, err error) {
	pid, held := cli.Holder(c.Data)
	if !held {
		return false, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return true, nil // it has just ended
	}
	if err != nil {
		return true, fmt.Errorf("stop process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	err = localapi.NewClient(c.Run).Stop(ctx, localapi.StopRequest{Containers: true, Grace: grace})
	if errors.Is(err, localapi.ErrNotRunning) {
		// It starts, or stops already, and does not listen: a signal ends it. That it
		// holds the lock still says that the process is the one that was opened.
		if now, held := cli.Holder(c.Data); !held || now != pid {
			return true, nil
		}
		err = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			err = nil
		}
	}
	if err != nil {
		return true, err
	}
	return true, waitEnded(ctx, fd, c, pid, grace)
}

// waitEnded returns when the process has ended.
func waitEnded(ctx context.Context, pidfd int, c *Config, pid int, grace time.Duration) error {
	end := time.Now().Add(grace + time.Minute)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
		if time.Now().After(end) {
			return &Fault{
				What: fmt.Sprintf("skiff does not stop; its process is %d", pid),
				Do:   fmt.Sprintf("read %s, then: kill -9 %d", filepath.Join(c.Data, logFile), pid),
			}
		}
	}
	return ctx.Err()
}

// takeStopped locks the data directory of an instance that does not run.
func takeStopped(dir string) (*os.File, error) {
	lock, err := cli.Lock(dir)
	var held *cli.HeldError
	if errors.As(err, &held) {
		return nil, &Fault{What: fmt.Sprintf("another skiff has just started with %s (process %d)", dir, held.PID), Do: "try again", Err: err}
	}
	return lock, err
}

// reset removes every trace of the instance.
func reset(ctx context.Context, c *Config) error {
	if err := needRoot("reset"); err != nil {
		return err
	}
	if _, err := stopProcess(ctx, c, time.Second); err != nil {
		return fmt.Errorf("stop it first: %w", err)
	}
	if exists(c.Data) {
		lock, err := takeStopped(c.Data)
		if err != nil {
			return err
		}
		defer lock.Close() // it is removed while it is held
	}
	p := &process{cfg: c, instance: c.Instance(), tel: telemetry.Discard()}
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

func needRoot(verb string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &Fault{What: "skiff " + verb + " must run as root", Do: "run it with sudo"}
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
