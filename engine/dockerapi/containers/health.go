package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
)

// Defaults of a health check, as Docker's.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
	healthResults       = 5
	healthOutput        = 4096
)

// healthState is what probes have found; Area.mu guards it.
type healthState struct {
	now    container.Health
	cancel context.CancelFunc
}

func (h *healthState) show() *container.Health {
	if h == nil {
		return nil
	}
	out := h.now
	out.Log = slices.Clone(out.Log)
	return &out
}

// probe is the command of a check; nil is none.
func probe(c *container.Config) []string {
	h := c.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:]
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(slices.Clone(shell), h.Test[1:]...)
	}
	return nil
}

// beginHealth starts to probe a container that has begun to run.
func (a *Area) beginHealth(c *cont) {
	args := probe(c.rec.Config)
	if len(args) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	log := []*container.HealthcheckResult{}
	if c.health != nil {
		log = c.health.now.Log // what earlier runs' probes found is still shown
	}
	c.health = &healthState{cancel: cancel, now: container.Health{Status: container.Starting, Log: log}}
	begin := c.rec.StartedAt
	a.mu.Unlock()
	h := *c.rec.Config.Healthcheck
	a.ended.Go(func() { a.probeOn(ctx, c, &h, args, begin) })
}

// endHealth ends the probing; what was found last is still shown.
func (a *Area) endHealth(c *cont) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.health == nil {
		return
	}
	c.health.cancel()
	if c.health.now.Status == container.Starting || c.health.now.Status == container.Healthy {
		c.health.now.Status = container.Unhealthy
	}
}

func (a *Area) probeOn(ctx context.Context, c *cont, h *container.HealthConfig, args []string, begin time.Time) {
	timeout, retries := cmp.Or(h.Timeout, healthTimeout), cmp.Or(h.Retries, healthRetries)
	for {
		wait := cmp.Or(h.Interval, healthInterval)
		if h.StartPeriod > 0 && time.Since(begin) < h.StartPeriod && a.starting(c) {
			wait = min(cmp.Or(h.StartInterval, healthStartInterval), h.StartPeriod-time.Since(begin))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		if a.view(c).paused {
			continue // its processes stand still, a probe too
		}
		result := a.probeOnce(ctx, c, args, timeout)
		if ctx.Err() != nil {
			return
		}
		inStart := result.Start.Sub(begin) < h.StartPeriod
		a.judge(c, result, inStart, retries)
	}
}

func (a *Area) starting(c *cont) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return c.health.now.Status == container.Starting
}

func (a *Area) probeOnce(ctx context.Context, c *cont, args []string, timeout time.Duration) *container.HealthcheckResult {
	out := &bounded{max: healthOutput}
	r := &container.HealthcheckResult{Start: time.Now()}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id := newID()
	a.publish(c, execAction(events.ActionExecCreate, args), "execID", id)
	a.publish(c, execAction(events.ActionExecStart, args), "execID", id)
	code, err := a.o.Engine.Exec(limited, c.rec.ID, engine.ExecSpec{Args: args, User: c.rec.Config.User}, engine.Streams{Stdout: out, Stderr: out})
	r.End, r.ExitCode, r.Output = time.Now(), code, string(out.b)
	if err == nil {
		a.publish(c, events.ActionExecDie, "execID", id, "exitCode", fmt.Sprint(code))
	}
	var se *engine.StartError
	switch {
	case limited.Err() != nil && ctx.Err() == nil:
		r.ExitCode, r.Output = -1, fmt.Sprintf("Health check exceeded timeout (%v)", timeout)
		if len(out.b) > 0 {
			r.Output += ": " + string(out.b)
		}
	case errors.As(err, &se):
		r.ExitCode, r.Output = -1, execPreamble+se.Message
	case err != nil:
		r.ExitCode, r.Output = -1, err.Error()
	}
	return r
}

// judge takes a result into a container's health.
func (a *Area) judge(c *cont, r *container.HealthcheckResult, inStart bool, retries int) {
	a.mu.Lock()
	h := &c.health.now
	was := h.Status
	h.Log = append(h.Log, r)
	if len(h.Log) > healthResults {
		h.Log = h.Log[len(h.Log)-healthResults:]
	}
	switch {
	case r.ExitCode == 0:
		h.FailingStreak, h.Status = 0, container.Healthy
	case inStart && h.Status == container.Starting:
		// Failures do not count yet.
	default:
		if h.FailingStreak++; h.FailingStreak >= retries {
			h.Status = container.Unhealthy
		}
	}
	now := h.Status
	a.mu.Unlock()
	if now != was {
		a.publish(c, events.Action(fmt.Sprintf("%s: %s", events.ActionHealthStatus, now)))
	}
}
