package containers

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
)

// follow deals with what the engine tells, until Close.
func (a *Area) follow(ch <-chan engine.Event) {
	for e := range ch {
		switch e.Type {
		case engine.EventLost:
			a.catchUp()
		case engine.EventExited:
			a.exited(e.ID, e.Container)
		case engine.EventOOM:
			a.mu.Lock()
			c := a.all[e.ID]
			if c != nil {
				c.rec.OOM = true
			}
			a.mu.Unlock()
			if c != nil {
				a.publish(c, events.ActionOOM)
			}
		}
	}
}

// catchUp looks at all containers after events were missed.
func (a *Area) catchUp() {
	known, err := a.o.Engine.List(a.ctx, map[string]string{Mine: ""})
	if err != nil {
		a.notify("list containers", "", err)
		return
	}
	for _, k := range known {
		if k.State == engine.Exited {
			a.exited(k.Spec.ID, k)
		}
	}
}

func (a *Area) exited(id string, k *engine.Container) {
	a.mu.Lock()
	c := a.all[id]
	a.mu.Unlock()
	if c == nil || k == nil {
		return
	}
	a.ended.Go(func() {
		c.op.Lock()
		defer c.op.Unlock()
		if v := a.view(c); v.running && !k.StartedAt.Before(v.StartedAt) {
			a.finish(c, k)
		}
	})
}

// Waits before a restart: they double up to the longest, and begin anew when a run
// has lasted.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = time.Minute
	lasting      = 10 * time.Second
)

// finish deals with the end of a run; c.op is held.
func (a *Area) finish(c *cont, k *engine.Container) {
	ctx := context.WithoutCancel(a.ctx)
	a.endHealth(c)
	a.mu.Lock()
	c.running, c.paused, c.pid = false, false, 0
	c.rec.ExitCode, c.rec.FinishedAt = k.ExitCode, k.FinishedAt.UTC()
	c.rec.OOM = k.OOMKilled
	again := !c.keep && !c.removing && shouldRestart(&c.rec)
	remove := !c.keep && !again && c.rec.HostConfig.AutoRemove
	lasted := k.FinishedAt.Sub(k.StartedAt)
	this := c.run
	if again {
		if c.backoff == 0 || lasted > lasting {
			c.backoff = firstBackoff
		} else {
			c.backoff = min(2*c.backoff, maxBackoff)
		}
		c.restarting = true
		c.rec.RestartCount++
	}
	err := a.save(c)
	for id, e := range a.execs {
		if e.c == c {
			delete(a.execs, id)
		}
	}
	clear(c.execs)
	a.mu.Unlock()
	a.notify("keep the end of a run", c.rec.ID, err)
	a.publish(c, events.ActionDie, "exitCode", fmt.Sprint(k.ExitCode), "execDuration", fmt.Sprint(int(lasted.Seconds())))
	a.notify("clean up after a run", c.rec.ID, a.cleanRun(ctx, c))
	if again {
		a.restartLater(c, this)
		return
	}
	if remove {
		a.notify("remove", c.rec.ID, a.removeLocked(ctx, c, true))
	}
	this.code = k.ExitCode
	close(this.done)
}

// shouldRestart tells whether a container whose run has ended is started again.
func shouldRestart(r *record) bool {
	p := r.HostConfig.RestartPolicy
	switch {
	case r.Manual:
		return false
	case p.IsAlways(), p.IsUnlessStopped():
		return true
	case p.IsOnFailure():
		return r.ExitCode != 0 && (p.MaximumRetryCount == 0 || r.RestartCount < p.MaximumRetryCount)
	}
	return false
}

// restartLater starts a container again after its wait. Waiters go on waiting; this
// run is over for them when nobody starts it any more.
func (a *Area) restartLater(c *cont, this *run) {
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	wait := c.backoff
	c.stopWait = cancel
	a.mu.Unlock()
	a.ended.Go(func() {
		defer cancel()
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		c.op.Lock()
		defer c.op.Unlock()
		v := a.view(c)
		switch {
		case a.ctx.Err() != nil:
			return // the next process goes on
		case v.running || v.removing:
			a.settle(c, this)
			return
		case ctx.Err() != nil || v.Manual:
			a.notify("keep a stop", v.ID, a.change(c, func() { c.restarting = false }))
			a.settle(c, this)
			return
		}
		if err := a.startLocked(context.WithoutCancel(ctx), c); err != nil {
			a.notify("start again", v.ID, err)
			a.settle(c, this)
			return
		}
		a.mu.Lock()
		// Whoever waits for the end of the run before waits for this one's.
		go func(next *run) {
			<-next.done
			this.code = next.code
			close(this.done)
		}(c.run)
		a.mu.Unlock()
	})
}

// settle lets go of those who wait for a run that is not followed by another.
func (a *Area) settle(c *cont, this *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	this.code = c.rec.ExitCode
	close(this.done)
}

// waitRun returns the channel of a wait condition, and the run whose exit code is
// asked for; nil is the last.
func (c *cont) waitRun(cond container.WaitCondition) (ended <-chan struct{}, r *run) {
	active := c.running || c.restarting
	switch {
	case cond == container.WaitConditionRemoved:
		return c.gone, nil
	case active:
		return c.run.done, c.run
	case cond == container.WaitConditionNextExit:
		return c.next.done, c.next
	}
	return closed, c.run
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
