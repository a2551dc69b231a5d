package lifecycle

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// MinGrace is what a container gets to end even when the pod's grace is used up.
const MinGrace = 2 * time.Second

// Plan decides what to do now for a pod of this node.
func Plan(pod *v1.Pod, o *Observed, now time.Time) Decision {
	var d Decision
	if f := deadline(pod, o, now, &d); f != nil {
		d.Failure = f
		failed := *o
		failed.Failure = f
		o = &failed
	}
	switch {
	case pod.DeletionTimestamp != nil || o.Gone:
		stopAll(pod, o, now, Grace(pod, o), &d)
		if len(d.Actions) == 0 && quiet(o) {
			if !o.TornDown {
				d.add(Action{Verb: Teardown})
			} else {
				d.add(Action{Verb: Finish})
			}
		}
	case o.Failure != nil || finished(pod, o):
		stopAll(pod, o, now, Grace(pod, o), &d)
		if len(d.Actions) == 0 && quiet(o) && !o.TornDown {
			d.add(Action{Verb: Teardown})
		}
	default:
		run(pod, o, now, &d)
	}
	return d
}

// Grace is how long a pod that ends may take.
func Grace(pod *v1.Pod, o *Observed) time.Duration {
	if o.Gone {
		// Deleted by force: still "a small grace period before being force killed"
		// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced).
		return MinGrace
	}
	if o.Failure != nil && o.Failure.Grace != nil && pod.DeletionTimestamp == nil {
		return *o.Failure.Grace
	}
	g := int64(30)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		g = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.DeletionGracePeriodSeconds != nil {
		g = *pod.DeletionGracePeriodSeconds
	}
	return time.Duration(max(g, 0)) * time.Second
}

// deadline looks at activeDeadlineSeconds.
func deadline(pod *v1.Pod, o *Observed, now time.Time, d *Decision) *Failure {
	if pod.Spec.ActiveDeadlineSeconds == nil || o.StartTime.IsZero() || o.Failure != nil ||
		pod.DeletionTimestamp != nil || o.Gone || finished(pod, o) {
		return nil
	}
	end := o.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
	if now.Before(end) {
		d.wake(end)
		return nil
	}
	return &Failure{Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
}

// quiet: nothing runs or is about to run.
func quiet(o *Observed) bool {
	if o.Busy {
		return false
	}
	for _, c := range o.Containers {
		if c.State == Running || c.Starting || c.Stopping {
			return false
		}
	}
	return true
}

// stopAll ends a pod: all containers at once, then its sidecars one by one in the
// reverse order of their start, within one common grace period.
func stopAll(pod *v1.Pod, o *Observed, now time.Time, grace time.Duration, d *Decision) {
	left := grace
	if o.Ending != nil {
		left = grace - now.Sub(o.Ending.Since)
	}
	if grace > 0 {
		left = max(left, MinGrace)
	} else {
		left = 0
	}
	active := false
	stop := func(name string) {
		c := o.get(name)
		if c.State != Running {
			active = active || c.Starting
			return
		}
		active = true
		if c.Stopping && !now.Add(left).Before(c.StopBy) {
			return
		}
		d.add(Action{Verb: Stop, Container: name, Grace: left, Reason: "Killing",
			Message: "Stopping container " + name})
	}
	for i := range pod.Spec.Containers {
		stop(pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		stop(pod.Spec.EphemeralContainers[i].Name)
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; KindOf(c) == Init {
			stop(c.Name)
		}
	}
	for i := len(pod.Spec.InitContainers) - 1; i >= 0 && !active; i-- {
		if c := &pod.Spec.InitContainers[i]; KindOf(c) == Sidecar {
			stop(c.Name)
		}
	}
}

// run drives a living pod towards its spec.
func run(pod *v1.Pod, o *Observed, now time.Time, d *Decision) {
	if !o.SandboxReady {
		switch {
		case o.Busy:
		case stopStale(pod, o, d):
		case now.Before(o.RetrySetup):
			d.wake(o.RetrySetup)
		default:
			d.add(Action{Verb: Setup})
		}
		return
	}
	r := runner{pod: pod, o: o, now: now, d: d}
	for i := range pod.Spec.EphemeralContainers {
		c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if o.get(c.Name).State == None {
			r.tryStart(&c, Ephemeral)
		}
	}
	if !r.initialise() {
		return
	}
	for i := range pod.Spec.Containers {
		r.keep(&pod.Spec.Containers[i], Regular)
	}
}

// stopStale ends what still runs in a sandbox that is gone; it reports whether
// there is something that runs.
func stopStale(pod *v1.Pod, o *Observed, d *Decision) bool {
	any := false
	for name, c := range o.Containers {
		if !c.Stale || c.State != Running && !c.Starting && !c.Stopping {
			continue
		}
		any = true
		if c.State == Running && !c.Stopping {
			d.add(Action{Verb: Stop, Container: name, Grace: Grace(pod, o), Reason: "Killing", Message: "Stopping container " + name})
		}
	}
	return any
}

type runner struct {
	pod   *v1.Pod
	o     *Observed
	now   time.Time
	d     *Decision
	begun bool // a Start has been decided
}

// initialise walks the init containers; it reports whether the regular ones may
// run.
func (r *runner) initialise() bool {
	done := begun(r.pod, r.o)
	for i := range r.pod.Spec.InitContainers {
		c := &r.pod.Spec.InitContainers[i]
		s := r.o.get(c.Name)
		if KindOf(c) == Sidecar {
			r.keep(c, Sidecar)
			if !done && (s.State != Running || !s.Started || s.Starting) {
				return false
			}
			continue
		}
		if done || (s.State == Exited && s.ExitCode == 0 && !s.Stale) {
			continue
		}
		r.keep(c, Init)
		return false
	}
	return true
}

// begun: a regular container has existed in this sandbox, so initialisation is over.
func begun(pod *v1.Pod, o *Observed) bool {
	for i := range pod.Spec.Containers {
		s := o.get(pod.Spec.Containers[i].Name)
		if s.Stale {
			continue
		}
		if s.State != None || s.Attempt > 0 || s.Last != nil {
			return true
		}
	}
	return false
}

// keep makes a container run as its policy asks.
func (r *runner) keep(c *v1.Container, k Kind) {
	s := r.o.get(c.Name)
	switch s.State {
	case Running:
		if s.Stopping || s.Starting {
			return
		}
		if s.Unhealthy != "" {
			grace := Grace(r.pod, r.o)
			if s.UnhealthyGrace != nil {
				grace = time.Duration(*s.UnhealthyGrace) * time.Second
			}
			msg := fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, s.Unhealthy)
			if !ShouldRestart(r.pod, c, k, 137) {
				msg = fmt.Sprintf("Container %s failed %s probe", c.Name, s.Unhealthy)
			}
			r.d.add(Action{Verb: Stop, Container: c.Name, Grace: grace, Reason: s.Unhealthy, Message: msg})
			return
		}
		if s.Hash != "" && s.Hash != Hash(c) {
			r.d.add(Action{Verb: Stop, Container: c.Name, Grace: Grace(r.pod, r.o), Reason: "changed",
				Message: fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)})
		}
	case Exited:
		if s.Stopping || !ShouldRestart(r.pod, c, k, s.ExitCode) && (k != Init || !s.Stale) {
			return
		}
		if at := s.Crash.Until(s.FinishedAt); r.now.Before(at) {
			r.d.wake(at)
			if !s.Announced {
				r.d.add(Action{Verb: Announce, Container: c.Name})
			}
			r.settle(c.Name, s)
			return
		}
		r.tryStart(c, k)
	default:
		r.tryStart(c, k)
	}
}

func (r *runner) tryStart(c *v1.Container, k Kind) {
	s := r.o.get(c.Name)
	if r.now.Before(s.NotBefore) {
		r.d.wake(s.NotBefore)
		r.settle(c.Name, s)
		return
	}
	if r.o.Busy || r.begun {
		return
	}
	attempt := s.Attempt
	if s.State == Exited || s.Last != nil && s.State == None {
		attempt++
	}
	r.d.add(Action{Verb: Start, Container: c.Name, Attempt: attempt})
	r.begun = true
}

func (r *runner) settle(name string, s *Container) {
	switch {
	case s.SettleAt.IsZero():
	case r.now.Before(s.SettleAt):
		r.d.wake(s.SettleAt)
	default:
		r.d.add(Action{Verb: Settle, Container: name})
	}
}

// finished: no container will run again.
func finished(pod *v1.Pod, o *Observed) bool {
	if !o.HadSandbox && !begun(pod, o) && len(o.Containers) == 0 {
		return false
	}
	if !begun(pod, o) {
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			s := o.get(c.Name)
			if KindOf(c) == Init && s.State == Exited && s.ExitCode != 0 && !s.Starting && !ShouldRestart(pod, c, Init, s.ExitCode) {
				return true
			}
		}
		return false
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := o.get(c.Name)
		if s.State != Exited || s.Starting || ShouldRestart(pod, c, Regular, s.ExitCode) {
			return false
		}
	}
	return true
}

// Finished: the pod has come to its end by itself.
func Finished(pod *v1.Pod, o *Observed) bool { return finished(pod, o) }
