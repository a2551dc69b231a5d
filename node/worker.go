package node

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
	"skiff.dev/skiff/volume"
)

// worker brings one pod to what its spec asks. It has a goroutine only while there
// is something to do: kick starts one, which asks lifecycle.Plan, begins what it
// says, writes the status when it differs, and ends. What takes time (pulls,
// hooks, stops) runs in goroutines of its own that kick again when they are done.
type worker struct {
	n      *Node
	ctx    context.Context
	cancel context.CancelFunc

	static bool // made from a file; the API has a mirror of it

	volMu sync.Mutex // volumes are refreshed, or taken away; taken before mu

	mu      sync.Mutex
	pod     *v1.Pod // newest known; shared, immutable
	obs     lifecycle.Observed
	running bool // loop has a goroutine
	again   bool // something happened while it ran
	closed  bool
	timer   *time.Timer

	firstAt            time.Time
	busySince, busyEnd time.Time
	sandbox            string // id, "" for none
	lostSandbox        string // id of one that is of no use, to be removed
	attempt            int    // of the sandbox
	volumes            map[string]volume.Mount
	mountErr           string // last FailedMount message, to tell it once a change
	retries            lifecycle.Backoff
	ids                map[string][]string // instances of each container, newest last
	pulls              map[string]lifecycle.Backoff
	probes             map[string]*prober         // of running containers
	exits              map[string][]chan struct{} // closed when that instance ends
	tearing            bool
	ending             bool
	mirror             types.UID     // of a static pod's mirror, "" while there is none
	written            *v1.PodStatus // what the API has, as far as we know
}

func (n *Node) newWorker(pod *v1.Pod) *worker {
	ctx, cancel := context.WithCancel(n.ctx)
	return &worker{
		n: n, ctx: ctx, cancel: cancel, pod: pod, firstAt: time.Now(),
		obs: lifecycle.Observed{Containers: map[string]*lifecycle.Container{}, HostIPs: n.o.NodeIPs},
		ids: map[string][]string{}, pulls: map[string]lifecycle.Backoff{}, probes: map[string]*prober{},
		exits: map[string][]chan struct{}{},
	}
}

// kick has the worker look again.
func (w *worker) kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kickLocked()
}

func (w *worker) kickLocked() {
	w.again = true
	if w.running || w.closed {
		return
	}
	w.running = true
	w.n.spawn(w.loop)
}

func (w *worker) loop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.again && !w.closed && w.ctx.Err() == nil {
		w.again = false
		w.step()
	}
	w.running = false
}

// step plans once, begins the actions and writes the status. w.mu is held, and let
// go during the write.
func (w *worker) step() {
	now := time.Now()
	if (w.pod.DeletionTimestamp != nil || w.obs.Gone || w.obs.Failure != nil) && w.obs.Ending == nil {
		w.obs.Ending = &lifecycle.Ending{Since: now}
	}
	d := lifecycle.Plan(w.pod, &w.obs, now)
	if d.Failure != nil {
		w.obs.Failure = d.Failure
		w.n.event(w.pod, v1.EventTypeNormal, d.Failure.Reason, "%s", d.Failure.Message)
		w.again = true
		return
	}
	for _, a := range d.Actions {
		w.begin(a, now)
	}
	w.wakeAt(d.Wake, now)
	w.report(now)
}

// begin starts one action. w.mu is held.
func (w *worker) begin(a lifecycle.Action, now time.Time) {
	switch a.Verb {
	case lifecycle.Setup:
		w.busy(now)
		w.effect(w.setup)
	case lifecycle.Start:
		w.busy(now)
		w.container(a.Container).Starting = true
		w.effect(func() { w.start(a.Container, a.Attempt) })
	case lifecycle.Settle:
		w.settle(a.Container)
	case lifecycle.Announce:
		w.container(a.Container).Announced = true
		w.n.containerEvent(w.pod, a.Container, v1.EventTypeWarning, "BackOff",
			"Back-off restarting failed container %s in pod %s", a.Container, podspec.PodLabel(w.pod))
	case lifecycle.Stop:
		c := w.container(a.Container)
		again := c.Stopping
		c.Stopping, c.StopBy = true, now.Add(a.Grace)
		pod, id := w.pod, c.ID
		w.stopProbes(a.Container)
		w.effect(func() { w.stopContainer(pod, a, id, again) })
	case lifecycle.Teardown:
		if !w.tearing {
			w.tearing = true
			w.effect(w.teardown)
		}
	case lifecycle.Finish:
		if !w.ending {
			w.ending = true
			w.effect(w.finish)
		}
	}
}

// busy marks a set-up or start under way; the first of a row counts for busySince.
func (w *worker) busy(now time.Time) {
	w.obs.Busy = true
	if now.Sub(w.busyEnd) > time.Millisecond {
		w.busySince = now
	}
}

// idle marks the end of a set-up or start. w.mu is held.
func (w *worker) idle() { w.obs.Busy, w.busyEnd = false, time.Now() }

// effect runs f beside the worker and looks again when it is done.
func (w *worker) effect(f func()) {
	w.n.spawn(func() {
		f()
		w.kick()
	})
}

func (w *worker) container(name string) *lifecycle.Container {
	c := w.obs.Containers[name]
	if c == nil {
		c = &lifecycle.Container{}
		w.obs.Containers[name] = c
	}
	return c
}

func (w *worker) wakeAt(t, now time.Time) {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if !t.IsZero() {
		w.timer = time.AfterFunc(max(t.Sub(now), time.Millisecond), w.kick)
	}
}

// update takes a newer version of the pod.
func (w *worker) update(pod *v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.pod
	if pod.Generation == old.Generation && pod.DeletionTimestamp.Equal(old.DeletionTimestamp) &&
		equality.Semantic.DeepEqual(pod.Labels, old.Labels) && equality.Semantic.DeepEqual(pod.Annotations, old.Annotations) &&
		w.written != nil && equality.Semantic.DeepEqual(&pod.Status, w.written) {
		w.pod = pod // only the echo of our own write
		return
	}
	w.pod = pod
	st := pod.Status
	if w.written != nil && !w.static {
		w.written = &st
	}
	if w.volumes != nil && (!equality.Semantic.DeepEqual(pod.Labels, old.Labels) || !equality.Semantic.DeepEqual(pod.Annotations, old.Annotations)) {
		w.effect(w.refreshVolumes)
	}
	if pod.Generation != old.Generation {
		w.resize(pod)
	}
	w.kickLocked()
}

// gone tells that the API object has been removed.
func (w *worker) gone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obs.Gone = true
	w.kickLocked()
}

// observe takes an event of the engine about one of this pod's containers.
func (w *worker) observe(e engine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := e.Container.Spec.Labels[podspec.LabelContainer]
	c := w.obs.Containers[name]
	if c == nil || c.ID != e.ID || e.Type == engine.EventRemoved {
		return
	}
	if w.apply(name, c, e.Container) {
		w.kickLocked()
	}
}

// apply moves a container's state forward, never back; it reports a change. w.mu is
// held.
func (w *worker) apply(name string, c *lifecycle.Container, e *engine.Container) bool {
	switch {
	case e.State == engine.Running && (c.State == lifecycle.Created || c.State == lifecycle.None):
		c.State, c.StartedAt = lifecycle.Running, e.StartedAt
		return true
	case e.State == engine.Exited && c.State != lifecycle.Exited:
		c.State = lifecycle.Exited
		c.StartedAt, c.FinishedAt, c.ExitCode = e.StartedAt, e.FinishedAt, e.ExitCode
		if c.FinishedAt.IsZero() {
			c.FinishedAt = time.Now()
		}
		c.Reason = exitReason(e)
		c.Message = w.n.terminationMessage(w.pod, name, e)
		c.Ready, c.Started, c.Unhealthy = false, false, ""
		c.Announced = false
		w.stopProbes(name)
		for _, ch := range w.exits[c.ID] {
			close(ch)
		}
		delete(w.exits, c.ID)
		return true
	}
	return false
}

// onExit closes ch when the instance ends, until the function returned is called.
// w.mu is held.
func (w *worker) onExit(id string, ch chan struct{}) (stop func()) {
	w.exits[id] = append(w.exits[id], ch)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.exits[id] = slices.DeleteFunc(w.exits[id], func(c chan struct{}) bool { return c == ch })
	}
}

func exitReason(e *engine.Container) string {
	switch {
	case e.OOMKilled:
		return "OOMKilled"
	case e.ExitCode == 0:
		return "Completed"
	}
	return "Error"
}

func attemptOf(c *engine.Container) int {
	n, _ := strconv.Atoi(c.Spec.Labels[podspec.LabelAttempt])
	return n
}

// snapshot is the pod with the status as this node sees it.
func (w *worker) snapshot() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	pod := *w.pod
	pod.Status = lifecycle.Status(w.pod, &w.obs, time.Now())
	return &pod
}

// stop ends the worker; containers go on.
func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wakeAt(time.Time{}, time.Time{})
	for name := range w.probes {
		w.stopProbes(name)
	}
	w.cancel()
}

// keepID remembers an instance; it returns those that are not needed any more: all
// but the newest two.
func (w *worker) keepID(name, id string) (old []string) {
	list := append(w.ids[name], id)
	if n := len(list) - 2; n > 0 {
		old, list = slices.Clone(list[:n]), list[n:]
	}
	w.ids[name] = list
	return old
}
