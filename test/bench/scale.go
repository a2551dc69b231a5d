package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"skiff.dev/skiff/test/workload"
)

// benchScale fills a store, starts a whole Skiff on it, and measures it with and
// without the nodes' heartbeats.
func benchScale(ctx context.Context, t *table, o *options) error {
	dir, err := os.MkdirTemp("", "skiff-bench-")
	if err != nil {
		return err
	}
	i := &instance{program: o.program, dir: dir}
	defer i.reset()
	s := size{pods: o.pods, nodes: o.nodes, apps: 1000}
	begin := time.Now()
	filled, err := fillStore(ctx, filepath.Join(dir, "data"), s)
	if err != nil {
		return err
	}
	t.row(fmt.Sprintf("fill: %d pods on %d nodes", s.pods, s.nodes), time.Since(begin).Seconds(), 0, "s", false)
	t.row("fill: bytes of all objects as stored", float64(filled.bytes)/1e6, 0, "MB", false)
	port, err := freePort()
	if err != nil {
		return err
	}
	begin = time.Now()
	if out, err := i.skiff(ctx, "up", "--detach", "--listen", fmt.Sprintf("0.0.0.0:%d", port)); err != nil {
		return fmt.Errorf("start: %w\n%s", err, out)
	}
	t.row("start with that data, to node Ready", time.Since(begin).Seconds(), 10, "s", false)
	cpu, err := workload.CPUTime(i.pids())
	if err != nil {
		return err
	}
	t.row("start with that data, server CPU", cpu.Seconds(), 0, "s", false)
	h, err := startHeartbeats(i.kubeconfig(), s)
	if err != nil {
		return err
	}
	defer h.stop()
	if err := i.scaleMemory(t, "just started"); err != nil {
		return err
	}
	// The first heartbeats, and what controllers make of what they find.
	if err := wait(ctx, 20*time.Second); err != nil {
		return err
	}
	if err := i.scaleLists(ctx, t, s); err != nil {
		return err
	}
	if err := i.scaleWrites(ctx, t, h, o.idle); err != nil {
		return err
	}
	return i.scaleMemory(t, "under heartbeats")
}

func (i *instance) scaleMemory(t *table, when string) error {
	rss, _, err := workload.Memory(i.pids())
	if err == nil {
		t.row("memory, "+when+", RSS", float64(rss)/1e6, 3000, "MB", false)
	}
	return err
}

// scaleLists asks for the pods of one app in a thousand, in all namespaces.
func (i *instance) scaleLists(ctx context.Context, t *table, s size) error {
	c, err := workload.Client(i.kubeconfig(), "")
	if err != nil {
		return err
	}
	var times []time.Duration
	for n := range 200 {
		begin := time.Now()
		l, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: fmt.Sprintf("app=app-%04d", n*7%s.apps)})
		if err != nil {
			return err
		}
		times = append(times, time.Since(begin))
		if len(l.Items) != s.pods/s.apps {
			return fmt.Errorf("the list has %d pods, not %d", len(l.Items), s.pods/s.apps)
		}
	}
	slices.Sort(times)
	t.row("LIST by a label that 1 in 1000 has, p50", workload.MS(times[len(times)/2]), 10, "ms", false)
	t.row("LIST by a label that 1 in 1000 has, p99", workload.MS(times[len(times)*99/100]), 0, "ms", false)
	return nil
}

// scaleWrites writes beside the heartbeats for a while.
func (i *instance) scaleWrites(ctx context.Context, t *table, h *heartbeats, d time.Duration) error {
	c, err := workload.Client(i.kubeconfig(), "")
	if err != nil {
		return err
	}
	cpu, err := workload.CPUTime(i.pids())
	if err != nil {
		return err
	}
	h.reset()
	begin := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var times []time.Duration
	for n := 0; time.Since(begin) < d; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		at := time.Now()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("beside-%d", n)}, Data: map[string]string{"a": "b"}}
		if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			return err
		}
		times = append(times, time.Since(at))
	}
	took := time.Since(begin)
	after, err := workload.CPUTime(i.pids())
	if err != nil {
		return err
	}
	beats, err := h.times()
	if err != nil {
		return err
	}
	slices.Sort(times)
	t.row("heartbeats: leases and node statuses", float64(len(beats))/took.Seconds(), 0, "/s", true)
	t.row("heartbeat, p99", workload.MS(beats[len(beats)*99/100]), 20, "ms", false)
	t.row("write beside the heartbeats, p50", workload.MS(times[len(times)/2]), 0, "ms", false)
	t.row("write beside the heartbeats, p99", workload.MS(times[len(times)*99/100]), 20, "ms", false)
	t.row("server CPU under heartbeats", 100*float64(after-cpu)/float64(took), 0, "% core", false)
	return nil
}

// heartbeats are simulated nodes: each renews its lease and reports its status
// every ten seconds, from a few connections as many kubelets behind one machine.
type heartbeats struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	err  error
}

const beatEvery = 10 * time.Second

func startHeartbeats(kubeconfig string, s size) (*heartbeats, error) {
	ctx, cancel := context.WithCancel(context.Background())
	h := &heartbeats{cancel: cancel}
	const connections = 50
	for k := range connections {
		c, err := workload.Client(kubeconfig, "")
		if err != nil {
			cancel()
			return nil, err
		}
		for n := k; n < s.nodes; n += connections {
			h.wg.Go(func() { h.node(ctx, c, s.nodeOf(n), beatEvery*time.Duration(n)/time.Duration(s.nodes)) })
		}
	}
	return h, nil
}

// node is one node's life; its beats begin after offset.
func (h *heartbeats) node(ctx context.Context, c kubernetes.Interface, name string, offset time.Duration) {
	if wait(ctx, offset) != nil {
		return
	}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	lease, err := c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, name, metav1.GetOptions{})
	if h.failed(ctx, err) {
		return
	}
	for {
		now := time.Now()
		lease.Spec.RenewTime = &metav1.MicroTime{Time: now}
		begin := time.Now()
		if lease, err = c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(ctx, lease, metav1.UpdateOptions{}); h.failed(ctx, err) {
			return
		}
		h.note(begin)
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","lastHeartbeatTime":%q}]}}`, now.UTC().Format(time.RFC3339))
		begin = time.Now()
		if _, err = c.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); h.failed(ctx, err) {
			return
		}
		h.note(begin)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *heartbeats) failed(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil {
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
	}
	return err != nil
}

func (h *heartbeats) note(begin time.Time) {
	took := time.Since(begin)
	h.mu.Lock()
	h.took = append(h.took, took)
	h.mu.Unlock()
}

func (h *heartbeats) reset() {
	h.mu.Lock()
	h.took = nil
	h.mu.Unlock()
}

// times are those of all beats since reset, sorted.
func (h *heartbeats) times() ([]time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && len(h.took) == 0 {
		h.err = fmt.Errorf("there were no heartbeats")
	}
	slices.Sort(h.took)
	return h.took, h.err
}

func (h *heartbeats) stop() {
	h.cancel()
	h.wg.Wait()
}
