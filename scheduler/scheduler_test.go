package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
	"skiff.dev/skiff/kinds"
)

func nodeOf(name, cpu, memory string, change ...func(*v1.Node)) *v1.Node {
	n := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name}},
		Status: v1.NodeStatus{Allocatable: v1.ResourceList{
			v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory), v1.ResourcePods: resource.MustParse("110"),
		}},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func podOf(name, cpu, memory string, change ...func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       v1.PodSpec{SchedulerName: v1.DefaultSchedulerName, Containers: []v1.Container{{Name: "c", Image: "app"}}},
	}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func taint(key string, effect v1.TaintEffect) func(*v1.Node) {
	return func(n *v1.Node) { n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: key, Effect: effect}) }
}

func hostPortOf(ip string, port int32) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, v1.ContainerPort{HostIP: ip, HostPort: port, ContainerPort: port})
	}
}

// decideOn places p on a cluster of nodes that run pods; it returns the node, or
// why there is none.
func decideOn(p *v1.Pod, nodes []*v1.Node, pods ...*v1.Pod) string {
	s := newSnapshot()
	for _, n := range nodes {
		s.setNode(n)
	}
	for _, r := range pods {
		d := demandOf(r)
		s.place(r, r.Spec.NodeName, &d, false)
	}
	c := &class{wish: newWish(p)}
	i, _, why := (&Scheduler{snapshot: s}).decide(c, &waiting{pod: p})
	if i >= 0 {
		return s.nodes[i].obj.Name
	}
	return why
}

func on(node string) func(*v1.Pod) { return func(p *v1.Pod) { p.Spec.NodeName = node } }

func TestDecisions(t *testing.T) {
	sidecar := v1.ContainerRestartPolicyAlways
	never := v1.PreemptNever
	one := []*v1.Node{nodeOf("a", "1", "1Gi")}
	for _, c := range []struct {
		name  string
		pod   *v1.Pod
		nodes []*v1.Node
		pods  []*v1.Pod
		want  string
	}{
		{"no nodes", podOf("p", "", ""), nil, nil, "no nodes available to schedule pods"},
		{"fits", podOf("p", "1", "1Gi"), one, nil, "a"},
		{"more than a node has", podOf("p", "2", "1Gi"), one, nil,
			"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"more than is left", podOf("p", "600m", "1Mi"), one, []*v1.Pod{podOf("r", "600m", "1Mi", on("a"))},
			"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"of both too little", podOf("p", "600m", "600Mi"), one, []*v1.Pod{podOf("r", "600m", "600Mi", on("a"))},
			"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"never preempts", podOf("p", "2", "1Gi", func(p *v1.Pod) { p.Spec.PreemptionPolicy = &never }), one, nil,
			"0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."},
		{"several reasons", podOf("p", "", "", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			[]*v1.Node{nodeOf("a", "1", "1Gi"), nodeOf("b", "1", "1Gi", taint("node.kubernetes.io/not-ready", v1.TaintEffectNoSchedule)),
				nodeOf("c", "1", "1Gi", func(n *v1.Node) { n.Spec.Unschedulable = true })}, nil,
			"0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
		{"selector", podOf("p", "", "", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{v1.LabelHostname: "b"} }),
			[]*v1.Node{nodeOf("a", "9", "9Gi"), nodeOf("b", "1", "1Gi")}, nil, "b"},
		{"tolerated taint", podOf("p", "", "", func(p *v1.Pod) { p.Spec.Tolerations = []v1.Toleration{{Operator: v1.TolerationOpExists}} }),
			[]*v1.Node{nodeOf("a", "1", "1Gi", taint("x", v1.TaintEffectNoExecute))}, nil, "a"},
		{"host port in use", podOf("p", "", "", hostPortOf("", 80)), one, []*v1.Pod{podOf("r", "", "", hostPortOf("127.0.0.1", 80), on("a"))},
			"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"host port on another address", podOf("p", "", "", hostPortOf("10.0.0.1", 80)), one, []*v1.Pod{podOf("r", "", "", hostPortOf("127.0.0.1", 80), on("a"))}, "a"},
		{"too many pods", podOf("p", "", ""), []*v1.Node{nodeOf("a", "1", "1Gi", func(n *v1.Node) { n.Status.Allocatable[v1.ResourcePods] = resource.MustParse("1") })},
			[]*v1.Pod{podOf("r", "", "", on("a"))},
			"0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"overhead counts", podOf("p", "900m", "1Mi", func(p *v1.Pod) { p.Spec.Overhead = v1.ResourceList{v1.ResourceCPU: resource.MustParse("200m")} }), one, nil,
			"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"init containers run before, sidecars beside", podOf("p", "400m", "1Mi", func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{
				{Name: "side", RestartPolicy: &sidecar, Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("300m")}}},
				{Name: "init", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("600m")}}},
			}
		}), one, nil, "a"},
		{"extended resource", podOf("p", "", "", func(p *v1.Pod) {
			p.Spec.Containers[0].Resources.Requests = v1.ResourceList{"example.com/gpu": resource.MustParse("1")}
		}), one, nil, "0/1 nodes are available: 1 Insufficient example.com/gpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"the emptier node", podOf("p", "100m", "100Mi"), []*v1.Node{nodeOf("a", "1", "1Gi"), nodeOf("b", "1", "1Gi")}, []*v1.Pod{podOf("r", "500m", "500Mi", on("a"))}, "b"},
		{"rather without PreferNoSchedule", podOf("p", "100m", "100Mi"), []*v1.Node{nodeOf("a", "8", "8Gi", taint("x", v1.TaintEffectPreferNoSchedule)), nodeOf("b", "1", "1Gi")}, nil, "b"},
		{"preferred affinity", podOf("p", "100m", "100Mi", func(p *v1.Pod) {
			p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.PreferredSchedulingTerm{{
				Weight: 10, Preference: v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{"b"}}}},
			}}}}
		}), []*v1.Node{nodeOf("a", "2", "2Gi"), nodeOf("b", "1", "1Gi")}, nil, "b"},
		{"where the image is", podOf("p", "", ""), []*v1.Node{nodeOf("a", "1", "1Gi"), nodeOf("b", "1", "1Gi", func(n *v1.Node) {
			n.Status.Images = []v1.ContainerImage{{Names: []string{"app:latest"}, SizeBytes: 800 << 20}}
		})}, nil, "b"},
	} {
		if got := decideOn(c.pod, c.nodes, c.pods...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What a class keeps is at every moment what a fresh look at all nodes gives.
func TestClassFollowsSnapshot(t *testing.T) {
	s := newSnapshot()
	p := podOf("p", "300m", "100Mi")
	c := &class{wish: newWish(p)}
	check := func(step string) {
		t.Helper()
		fresh := &class{wish: newWish(p)}
		got, want := c.best(s), fresh.best(s)
		if got != want {
			t.Fatalf("%s: node %d, a fresh look says %d", step, got, want)
		}
		if len(c.ranking) != len(fresh.ranking) {
			t.Fatalf("%s: %d nodes, a fresh look says %d", step, len(c.ranking), len(fresh.ranking))
		}
		for i, e := range fresh.entries {
			if s.nodes[i] != nil && (e.place > 0) != (c.entries[i].place > 0) || e.place > 0 && e.score != c.entries[i].score {
				t.Fatalf("%s: node %d is %+v, a fresh look says %+v", step, i, c.entries[i], e)
			}
		}
	}
	seed := uint64(7)
	random := func(n int) int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int(seed>>33) % n
	}
	var uids []types.UID
	for step := range 3000 {
		switch random(6) {
		case 0:
			n := nodeOf(fmt.Sprint("n", random(20)), fmt.Sprint(1+random(4)), "4Gi")
			if random(4) == 0 {
				taint("x", v1.TaintEffectPreferNoSchedule)(n)
			}
			n.Spec.Unschedulable = random(8) == 0
			s.setNode(n)
		case 1:
			s.removeNode(fmt.Sprint("n", random(40)))
		case 2, 3, 4:
			q := podOf(fmt.Sprint(step), fmt.Sprint(100*(1+random(5)), "m"), "200Mi")
			d := demandOf(q)
			s.place(q, fmt.Sprint("n", random(22)), &d, random(2) == 0)
			uids = append(uids, q.UID)
		case 5:
			if len(uids) > 0 {
				i := random(len(uids))
				s.remove(uids[i])
				uids = append(uids[:i], uids[i+1:]...)
			}
		}
		check(fmt.Sprint("step ", step))
	}
}

type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Actionf(_ runtime.Object, _, reason, action, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s %s: %s", reason, action, fmt.Sprintf(format, args...)))
}

type world struct {
	t        *testing.T
	b        *clienttest.Backend
	c        *client.InProcess
	recorder *recorder
}

func run(t *testing.T) *world {
	b := clienttest.NewBackend(clienttest.Table())
	w := &world{t: t, b: b, c: client.NewInProcess(b, clienttest.Scheme()), recorder: &recorder{}}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Scheduler{Client: w.c, Cache: w.c, Recorder: w.recorder, Log: slog.New(slog.DiscardHandler)}
	var all sync.WaitGroup
	all.Go(func() { w.c.Start(ctx) })
	all.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); all.Wait() })
	return w
}

func (w *world) create(objs ...crclient.Object) {
	w.t.Helper()
	for _, obj := range objs {
		if err := w.c.Create(w.t.Context(), obj); err != nil {
			w.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func (w *world) pod(name string) *v1.Pod {
	w.t.Helper()
	var p v1.Pod
	if err := w.c.Get(w.t.Context(), crclient.ObjectKey{Namespace: "default", Name: name}, &p); err != nil {
		w.t.Fatal(err)
	}
	return &p
}

func TestBindAndRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.create(podOf("early", "600m", "1Mi"))
		p := w.pod("early")
		if len(p.Status.Conditions) != 1 || p.Status.Conditions[0].Reason != "Unschedulable" || p.Status.Conditions[0].Message != noNodes {
			t.Fatalf("conditions %+v", p.Status.Conditions)
		}
		w.create(nodeOf("a", "1", "1Gi"))
		if p := w.pod("early"); p.Spec.NodeName != "a" {
			t.Fatalf("early is on %q", p.Spec.NodeName)
		}
		w.create(podOf("late", "600m", "1Mi"))
		if p := w.pod("late"); p.Spec.NodeName != "" {
			t.Fatal("a node was given away twice")
		}
		writes := w.b.Writes()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.b.Writes() - writes; n != 0 {
			t.Fatalf("%d writes while nothing changed", n)
		}
		if err := w.c.Delete(t.Context(), w.pod("early"), crclient.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := w.pod("late"); p.Spec.NodeName != "a" {
			t.Fatalf("late is on %q after early went", p.Spec.NodeName)
		}
		want := []string{
			"FailedScheduling Scheduling: no nodes available to schedule pods",
			"Scheduled Binding: Successfully assigned default/early to a",
			"FailedScheduling Scheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
			"Scheduled Binding: Successfully assigned default/late to a",
		}
		if fmt.Sprint(w.recorder.lines) != fmt.Sprint(want) {
			t.Fatalf("events %q", w.recorder.lines)
		}
	})
}

func TestBindingRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		var allow atomic.Bool
		w.b.Fail = func(verb, sub string, _ *kinds.Kind, _, _ string) error {
			if !allow.Load() && verb == "post" && sub == "binding" {
				return errors.New("no")
			}
			return nil
		}
		w.create(nodeOf("a", "1", "1Gi"), podOf("p", "600m", "1Mi"))
		if p := w.pod("p"); p.Spec.NodeName != "" || p.Status.Conditions[0].Reason != "SchedulerError" {
			t.Fatalf("%+v", p.Status)
		}
		allow.Store(true)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if p := w.pod("p"); p.Spec.NodeName != "a" {
			t.Fatal("a refused binding was not tried again")
		}
	})
}

func TestPriorityGatesAndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		high := int32(1000)
		w.create(podOf("low", "600m", "1Mi"))
		w.create(podOf("high", "600m", "1Mi", func(p *v1.Pod) { p.Spec.Priority = &high }))
		w.create(podOf("gated", "1m", "1Mi", func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "g"}} }))
		w.create(podOf("foreign", "1m", "1Mi", func(p *v1.Pod) { p.Spec.SchedulerName = "mine" }))
		w.create(nodeOf("a", "1", "1Gi"))
		for name, want := range map[string]string{"low": "", "high": "a", "gated": "", "foreign": ""} {
			if p := w.pod(name); p.Spec.NodeName != want {
				t.Errorf("%s is on %q", name, p.Spec.NodeName)
			}
		}
		gated := w.pod("gated")
		gated.Spec.SchedulingGates = nil
		if err := w.c.Update(t.Context(), gated); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := w.pod("gated"); p.Spec.NodeName != "a" {
			t.Errorf("a pod whose gates were lifted is on %q", p.Spec.NodeName)
		}
	})
}

func TestNodeChangeHelps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		n := nodeOf("a", "1", "1Gi", taint("node.kubernetes.io/not-ready", v1.TaintEffectNoSchedule))
		w.create(n, podOf("p", "", ""))
		n.Spec.Taints = nil
		if err := w.c.Update(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := w.pod("p"); p.Spec.NodeName != "a" {
			t.Fatal("a node without its taint was not noticed at once")
		}
	})
}

// BenchmarkSchedule is the whole way of 10,000 pods onto 5,000 nodes: watch event,
// decision, binding through the client, and the event that confirms it.
func BenchmarkSchedule(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		back := clienttest.NewBackend(clienttest.Table())
		c := client.NewInProcess(back, clienttest.Scheme())
		ctx, cancel := context.WithCancel(context.Background())
		for i := range 5000 {
			if err := c.Create(ctx, nodeOf(fmt.Sprint("node-", i), "4", "32Gi")); err != nil {
				b.Fatal(err)
			}
		}
		const pods = 10000
		for i := range pods {
			if err := c.Create(ctx, podOf(fmt.Sprint("pod-", i), fmt.Sprint(100+i%4*10, "m"), "500Mi")); err != nil {
				b.Fatal(err)
			}
		}
		done := make(chan struct{})
		r := &counter{left: pods, done: done}
		s := &Scheduler{Client: c, Cache: c, Recorder: r, Log: slog.New(slog.DiscardHandler)}
		var all sync.WaitGroup
		b.StartTimer()
		start := time.Now()
		all.Go(func() { c.Start(ctx) })
		all.Go(func() { s.Run(ctx) })
		<-done
		b.ReportMetric(pods/time.Since(start).Seconds(), "pods/s")
		b.StopTimer()
		cancel()
		all.Wait()
		b.StartTimer()
	}
}

type counter struct {
	mu   sync.Mutex
	left int
	done chan struct{}
}

func (c *counter) Actionf(_ runtime.Object, _, reason, _, _ string, _ ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; reason != "Scheduled" {
		panic(reason)
	}
	if c.left == 0 {
		close(c.done)
	}
}

// BenchmarkDecide is the decision alone, with the snapshot brought forward.
func BenchmarkDecide(b *testing.B) {
	s := newSnapshot()
	for i := range 5000 {
		s.setNode(nodeOf(fmt.Sprint("node-", i), "64", "512Gi", func(n *v1.Node) { n.Status.Allocatable[v1.ResourcePods] = resource.MustParse("1000") }))
	}
	p := podOf("p", "100m", "500Mi")
	c := &class{wish: newWish(p)}
	i := 0
	for b.Loop() {
		i++
		at := c.best(s)
		q := &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(strconv.Itoa(i))}}
		s.place(q, s.nodes[at].obj.Name, c.wish.demand, true)
	}
}
