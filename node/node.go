package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/engine"
)

// Node runs the pods of one machine. It is the only writer of the status of the
// Node and of its Pods (save the conditions that others add), of the node's Lease,
// and the one that deletes a Pod object whose containers have ended.
type Node struct {
	o        Options
	log      *slog.Logger
	events   *client.Recorder
	machine  machine
	handler  http.Handler
	started  chan struct{} // closed when pods are being watched
	starting chan struct{} // bounds set-ups and starts under way
	pulling  chan struct{}

	ctx  context.Context // of Run
	work sync.WaitGroup  // effects under way

	spawnMu sync.Mutex // taken last
	closing bool

	mu         sync.Mutex
	workers    map[types.UID]*worker
	adoptable  map[types.UID]*adoption
	registered registration // used by Run alone
	resources  resourceView
	active     map[types.UID]*v1.Pod // admitted and not yet ended

	classes classes
	relief  relief
}

// New checks options and prepares directories. Nothing runs before Run.
func New(o Options) (*Node, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	for _, d := range []string{o.RootDir, o.RunDir, o.LogDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
	}
	t := o.Telemetry.For("node")
	n := &Node{
		o: o, log: t.Log, started: make(chan struct{}),
		starting: make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0))),
		pulling:  make(chan struct{}, o.Images.Parallel),
		workers:  map[types.UID]*worker{}, adoptable: map[types.UID]*adoption{},
		active: map[types.UID]*v1.Pod{},
	}
	n.events = client.NewRecorder(o.Client, "kubelet", o.Name, t.Log)
	groups, _ := o.Engine.(engine.Groups)
	n.classes = classes{groups: groups, request: map[types.UID]int64{}}
	n.relief.busy = make(chan struct{}, 1)
	n.handler = n.newHandler()
	return n, nil
}

// Handler is the node's own API, with the kubelet's paths. It authenticates
// nobody: who serves it does.
func (n *Node) Handler() http.Handler { return n.handler }

// Started is closed when the node is registered and takes pods.
func (n *Node) Started() <-chan struct{} { return n.started }

// Run registers the node, adopts what runs already, and works until ctx ends.
// Containers go on running then.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.ctx = ctx
	defer n.work.Wait()
	defer n.stopWorkers()

	// The stream of events is opened before the lists, so that nothing falls between.
	stream := n.o.Engine.Events(ctx)
	if err := n.findAdoptable(ctx); err != nil {
		return fmt.Errorf("node: look for running pods: %w", err)
	}
	if err := n.register(ctx); err != nil {
		return fmt.Errorf("node: register %s: %w", n.o.Name, err)
	}
	n.events.Eventf(n.ref(), v1.EventTypeNormal, "Starting", "Starting kubelet.")
	if err := n.classes.start(n, n.allocatable()); err != nil {
		return fmt.Errorf("node: control groups of pods: %w", err)
	}
	n.syncStatic()
	if err := n.watch(ctx); err != nil {
		return fmt.Errorf("node: watch: %w", err)
	}
	n.dropOrphans()
	n.log.Info("node is taking pods", "node", n.o.Name)
	close(n.started)

	lease := time.NewTicker(leaseInterval)
	defer lease.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-stream:
			if !ok {
				stream = nil
				continue
			}
			n.engineEvent(e)
		case <-lease.C:
			n.heartbeat(ctx)
			n.syncStatic()
		}
	}
}

// engineEvent brings one event to its pod's worker.
func (n *Node) engineEvent(e engine.Event) {
	if e.Type == engine.EventLost {
		n.spawn(n.relist)
		return
	}
	if e.Type == engine.EventSandbox {
		n.sandboxGone(e.ID)
		return
	}
	if e.Container == nil {
		return
	}
	if w := n.workerOf(e.Container); w != nil {
		w.observe(e)
	}
}

// relist compares with the engine's whole state after events were lost.
func (n *Node) relist() {
	all, err := n.o.Engine.List(n.ctx, nil)
	if err != nil {
		n.log.Error("cannot list containers", "error", err)
		return
	}
	for _, c := range all {
		if w := n.workerOf(c); w != nil {
			w.observe(engine.Event{Type: engine.EventStarted, ID: c.Spec.ID, Container: c})
		}
	}
	sandboxes, err := n.o.Engine.Sandboxes(n.ctx)
	if err != nil {
		n.log.Error("cannot list sandboxes", "error", err)
		return
	}
	there := map[string]bool{}
	for _, s := range sandboxes {
		there[s.Spec.ID] = true
	}
	for _, w := range n.allWorkers() {
		w.mu.Lock()
		id := w.sandbox
		w.mu.Unlock()
		// One that is being made is not in w.sandbox yet.
		if id != "" && !there[id] {
			w.sandboxGone(id)
		}
	}
}

// Pods returns the pods that this node runs or has run and not yet removed.
func (n *Node) Pods() []*v1.Pod {
	workers := n.allWorkers()
	out := make([]*v1.Pod, 0, len(workers))
	for _, w := range workers {
		out = append(out, w.snapshot())
	}
	return out
}

func (n *Node) allWorkers() []*worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.workers))
}

// stopWorkers ends all that goes on in this process; containers go on.
func (n *Node) stopWorkers() {
	n.spawnMu.Lock()
	n.closing = true
	n.spawnMu.Unlock()
	for _, w := range n.allWorkers() {
		w.stop()
	}
}

// spawn runs f in a goroutine that Run waits for, unless Run is ending.
func (n *Node) spawn(f func()) {
	n.spawnMu.Lock()
	defer n.spawnMu.Unlock()
	if !n.closing {
		n.work.Go(f)
	}
}
