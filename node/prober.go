package node

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/node/lifecycle"
)

// prober probes one running instance of a container. Between probes it is only
// timers.
type prober struct {
	ctx    context.Context
	cancel context.CancelFunc
	kinds  []*probing
}

// probing is one probe of one instance. Its fields belong to the worker's lock.
type probing struct {
	kind   string // "Liveness", "Readiness", "Startup"
	spec   *v1.Probe
	timer  *time.Timer
	tally  tally
	quick  int // extra early tries made
	paused bool
}

// tally counts results in a row.
type tally struct {
	last probeResult
	run  int32
}

// add counts r; it reports whether r has come often enough in a row to count.
func (t *tally) add(r probeResult, p *v1.Probe) bool {
	if t.run > 0 && t.last == r {
		t.run++
	} else {
		t.last, t.run = r, 1
	}
	if r == probeFailure {
		return t.run >= max(p.FailureThreshold, 1)
	}
	return t.run >= max(p.SuccessThreshold, 1)
}

// Early tries of a readiness probe that has not succeeded yet. Kubernetes may probe
// a container that is not ready at other times than its period says, so that it
// becomes ready faster
// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#probe-readiness);
// these failures count for nothing and make no event.
var quickTries = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond,
	80 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond}

func period(p *v1.Probe) time.Duration { return time.Duration(max(p.PeriodSeconds, 1)) * time.Second }

// startProbes begins to probe an instance that runs, or declares it started and
// ready where it has no probes. w.mu is held.
func (w *worker) startProbes(name string, c *lifecycle.Container) {
	spec, kind, ok := lifecycle.Find(w.pod, name)
	if !ok || w.probes[name] != nil || w.closed {
		return
	}
	if kind == lifecycle.Init || kind == lifecycle.Ephemeral {
		c.Started = true
		return
	}
	if spec.StartupProbe == nil {
		c.Started = true
	}
	if spec.ReadinessProbe == nil {
		c.Ready = true
	}
	ctx, cancel := context.WithCancel(w.ctx)
	p := &prober{ctx: ctx, cancel: cancel}
	add := func(kind string, ps *v1.Probe) {
		if ps != nil {
			p.kinds = append(p.kinds, &probing{kind: kind, spec: ps})
		}
	}
	if !c.Started {
		add("Startup", spec.StartupProbe)
	}
	add("Readiness", spec.ReadinessProbe)
	add("Liveness", spec.LivenessProbe)
	if len(p.kinds) == 0 {
		cancel()
		return
	}
	w.probes[name] = p
	for _, k := range p.kinds {
		k.paused = !c.Started && k.kind != "Startup"
		if !k.paused {
			w.schedule(name, p, k, w.firstProbe(k, c))
		}
	}
}

// firstProbe is when a probe first tries: at once after its initial delay. After
// a restart of this process probes are spread over their period.
func (w *worker) firstProbe(k *probing, c *lifecycle.Container) time.Duration {
	d := time.Duration(k.spec.InitialDelaySeconds)*time.Second - time.Since(c.StartedAt)
	if d > 0 {
		return d
	}
	if time.Since(c.StartedAt) > period(k.spec)+time.Duration(k.spec.InitialDelaySeconds)*time.Second {
		return time.Duration(rand.Int64N(int64(period(k.spec))))
	}
	return 0
}

// stopProbes ends the probing of a container. w.mu is held.
func (w *worker) stopProbes(name string) {
	p := w.probes[name]
	if p == nil {
		return
	}
	delete(w.probes, name)
	p.cancel()
	for _, k := range p.kinds {
		if k.timer != nil {
			k.timer.Stop()
		}
	}
}

func (w *worker) schedule(name string, p *prober, k *probing, d time.Duration) {
	if k.timer != nil {
		k.timer.Stop()
	}
	k.timer = time.AfterFunc(d, func() { w.n.spawn(func() { w.probe(name, p, k) }) })
}

// probe tries once and takes the result in.
func (w *worker) probe(name string, p *prober, k *probing) {
	w.mu.Lock()
	c := w.container(name)
	spec, _, ok := lifecycle.Find(w.pod, name)
	if !ok || w.probes[name] != p || c.State != lifecycle.Running {
		w.mu.Unlock()
		return
	}
	id, ip, pod, began := c.ID, first(w.obs.IPs), w.pod, time.Now()
	w.mu.Unlock()

	result, output, err := w.probeHandler(p.ctx, k.spec, spec, id, ip)
	if p.ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.probes[name] != p {
		return
	}
	next := max(period(k.spec)-time.Since(began), 0)
	early := k.kind == "Readiness" && !c.Ready && k.tally.run == 0 && result == probeFailure &&
		k.quick < len(quickTries) && quickTries[k.quick] < next
	if early {
		next = quickTries[k.quick]
		k.quick++
		w.schedule(name, p, k, next)
		return
	}
	switch {
	case err != nil:
		w.n.containerEvent(pod, name, v1.EventTypeWarning, "Unhealthy", "%s probe errored and resulted in %s state: %s", k.kind, "unknown", err)
	case result == probeFailure:
		w.n.containerEvent(pod, name, v1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", k.kind, trimOutput(output))
	}
	if err != nil || result == probeUnknown {
		w.schedule(name, p, k, next)
		return
	}
	if k.tally.add(result, k.spec) {
		if w.judge(name, p, k, c, result) {
			return
		}
	}
	w.schedule(name, p, k, next)
}

func trimOutput(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// judge acts on a result that counts; it reports whether this probing is over.
// w.mu is held.
func (w *worker) judge(name string, p *prober, k *probing, c *lifecycle.Container, r probeResult) (over bool) {
	changed := false
	switch {
	case k.kind == "Readiness":
		changed = c.Ready != (r == probeSuccess)
		c.Ready = r == probeSuccess
	case k.kind == "Startup" && r == probeSuccess:
		c.Started, changed, over = true, true, true
		for _, o := range p.kinds {
			if o.paused {
				o.paused = false
				w.schedule(name, p, o, w.firstProbe(o, c))
			}
		}
	case r == probeFailure:
		c.Unhealthy, c.UnhealthyGrace = strings.ToLower(k.kind), k.spec.TerminationGracePeriodSeconds
		changed, over = true, true
	}
	if changed {
		w.kickLocked()
	}
	return over
}
