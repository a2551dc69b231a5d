package controllers_test

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/scheduler"
	"skiff.dev/skiff/store/mem"
)

// cluster is the real API server in memory with every controller and the
// scheduler, and the test in the place of the kubelet.
type cluster struct {
	t testing.TB
	*client.InProcess
	log *strings.Builder
	srv *apiserver.Server
}

// as is a client of another user.
func (c *cluster) as(u *auth.User) *client.Identity { return c.As(c.srv.InProcess(u)) }

func start(t testing.TB, plugins ...admission.Plugin) *cluster {
	return startWith(t, apiserver.Options{Admission: plugins}, loop.Config{RootCA: []byte("pem"), PodCIDR: "10.244.0.0/16"})
}

func startWith(t testing.TB, o apiserver.Options, config loop.Config) *cluster {
	s := mem.New()
	o.Store, o.Table, o.Scheme = s, all.Table(), scheme.New()
	srv, err := apiserver.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := client.NewInProcess(srv.InProcess(&auth.User{Name: "skiff", Groups: []string{auth.GroupMasters}}), scheme.New())
	ctx, cancel := context.WithCancel(context.Background())
	var lines strings.Builder
	log := slog.New(slog.NewTextHandler(&lines, nil))
	env := &loop.Env{Client: p, Cache: p, Kinds: p, Log: log, Config: config}
	ended := make(chan struct{}, 2)
	go func() { p.Start(ctx); ended <- struct{}{} }()
	sched := &scheduler.Scheduler{Client: p, Cache: p, Log: log, Recorder: client.NewRecorder(p, "default-scheduler", "host", log)}
	go func() { sched.Run(ctx); ended <- struct{}{} }()
	if err := controllers.Start(ctx, env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		env.Wait()
		srv.Close()
		s.Close()
		if t.Failed() {
			t.Log(lines.String())
		}
	})
	return &cluster{t: t, InProcess: p, log: &lines, srv: srv}
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) create(objs ...crclient.Object) {
	c.t.Helper()
	for _, obj := range objs {
		c.must(c.Create(context.Background(), obj))
	}
}

// settle lets every pause of up to three seconds pass.
func settle() {
	for range 30 {
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
}

// kubelet runs the pods of a node: those bound become ready, those deleted end.
func (c *cluster) kubelet(node string, block byte) {
	c.t.Helper()
	ctx := context.Background()
	var pods corev1.PodList
	c.must(c.List(ctx, &pods, crclient.MatchingFields{"spec.nodeName": node}))
	for i := range pods.Items {
		p := &pods.Items[i]
		switch {
		case p.DeletionTimestamp != nil:
			c.must(crclient.IgnoreNotFound(c.Delete(ctx, p, crclient.GracePeriodSeconds(0))))
		case p.Status.PodIP == "":
			p.Status.Phase = corev1.PodRunning
			p.Status.PodIP = fmt.Sprintf("10.244.%d.%d", block, i+2)
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
			c.must(c.Status().Update(ctx, p))
		}
	}
}

func (c *cluster) node(name string) *corev1.Node {
	return c.readyNode(context.Background(), c.InProcess, name)
}

func (c *cluster) readyNode(ctx context.Context, to crclient.Client, name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.must(to.Create(ctx, n))
	base := n.DeepCopy()
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	n.Status.Capacity = n.Status.Allocatable
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	c.must(to.Status().Patch(ctx, n, crclient.StrategicMergeFrom(base)))
	return n
}

func (c *cluster) beat(name string) {
	c.t.Helper()
	n := &corev1.Node{}
	c.must(c.Get(context.Background(), crclient.ObjectKey{Name: name}, n))
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			n.Status.Conditions[i].Status, n.Status.Conditions[i].LastHeartbeatTime = corev1.ConditionTrue, metav1.Now()
		}
	}
	c.must(c.Status().Update(context.Background(), n))
}

func web(namespace string) (*appsv1.Deployment, *corev1.Service) {
	l := map[string]string{"app": "web"}
	replicas := int32(3)
	return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Labels: l},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: l},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: l},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{
						Name: "c", Image: "web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
					}}},
				},
			},
		}, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", Labels: l},
			Spec:       corev1.ServiceSpec{Selector: l, Ports: []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromString("http")}}},
		}
}

func TestWholeControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := start(t)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		c.create(ns)
		a, b := c.node("a"), c.node("b")
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(a), a))
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(b), b))
		if got := []string{a.Spec.PodCIDR, b.Spec.PodCIDR}; !slices.Contains(got, "10.244.0.0/24") || !slices.Contains(got, "10.244.1.0/24") {
			t.Errorf("ranges of nodes: %v", got)
		}
		c.must(c.Get(ctx, crclient.ObjectKey{Namespace: "shop", Name: "default"}, &corev1.ServiceAccount{}))
		ca := &corev1.ConfigMap{}
		c.must(c.Get(ctx, crclient.ObjectKey{Namespace: "shop", Name: "kube-root-ca.crt"}, ca))
		if ca.Data["ca.crt"] != "pem" {
			t.Errorf("root certificate: %v", ca.Data)
		}

		d, svc := web("shop")
		c.create(d, svc)
		settle()
		c.kubelet("a", 0)
		c.kubelet("b", 1)
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(d), d))
		if d.Status.AvailableReplicas != 3 || d.Annotations["deployment.kubernetes.io/revision"] != "1" {
			t.Errorf("deployment: %+v %v", d.Status, d.Annotations)
		}
		ep := &corev1.Endpoints{}
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(svc), ep))
		if len(ep.Subsets) != 1 || len(ep.Subsets[0].Addresses) != 3 || ep.Subsets[0].Ports[0].Port != 8080 {
			t.Errorf("endpoints: %+v", ep.Subsets)
		}
		var slices1 discoveryv1.EndpointSliceList
		c.must(c.List(ctx, &slices1, crclient.InNamespace("shop")))
		if len(slices1.Items) != 1 || len(slices1.Items[0].Endpoints) != 3 || !strings.HasPrefix(slices1.Items[0].Name, "web-") {
			t.Errorf("slices: %+v", slices1.Items)
		}

		// Nothing writes while nothing changes.
		before := c.revision()
		settle()
		if after := c.revision(); after != before {
			t.Errorf("revision %s became %s while nothing changed", before, after)
		}

		// A roll-out, as kubectl set image makes it.
		d.Spec.Template.Spec.Containers[0].Image = "web:2"
		c.must(c.Update(ctx, d))
		for range 6 {
			settle()
			c.kubelet("a", 2)
			c.kubelet("b", 3)
		}
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(d), d))
		if s := d.Status; s.UpdatedReplicas != 3 || s.Replicas != 3 || s.AvailableReplicas != 3 || d.Annotations["deployment.kubernetes.io/revision"] != "2" {
			t.Errorf("after the roll-out: %+v", s)
		}

		// Deleted in the foreground, the Deployment waits for what it owns.
		c.must(c.Delete(ctx, d, crclient.PropagationPolicy(metav1.DeletePropagationForeground)))
		settle()
		if err := c.Get(ctx, crclient.ObjectKeyFromObject(d), d); err != nil {
			t.Errorf("a Deployment went before its pods: %v", err)
		}
		c.kubelet("a", 0)
		c.kubelet("b", 1)
		settle()
		if n := c.count("shop", &appsv1.DeploymentList{}, &appsv1.ReplicaSetList{}, &corev1.PodList{}); n != 0 {
			t.Errorf("%d objects left after foreground deletion", n)
		}
		// The slices go with their service.
		c.must(c.Delete(ctx, svc))
		settle()
		if n := c.count("shop", &corev1.EndpointsList{}, &discoveryv1.EndpointSliceList{}); n != 0 {
			t.Errorf("%d endpoints and slices left after their service", n)
		}

		d, _ = web("shop")
		c.create(d)
		settle()
		c.must(c.Delete(ctx, ns))
		settle()
		c.kubelet("a", 0)
		c.kubelet("b", 1)
		time.Sleep(time.Minute)
		settle()
		if err := c.Get(ctx, crclient.ObjectKeyFromObject(ns), ns); crclient.IgnoreNotFound(err) != nil || err == nil {
			t.Errorf("namespace is still there: %+v %v", ns, err)
		}
	})
}

func (c *cluster) revision() string {
	c.t.Helper()
	var list corev1.ConfigMapList
	c.must(c.List(context.Background(), &list))
	return list.ResourceVersion
}

func (c *cluster) count(namespace string, lists ...crclient.ObjectList) (n int) {
	c.t.Helper()
	for _, l := range lists {
		c.must(c.List(context.Background(), l, crclient.InNamespace(namespace)))
		n += listLen(l)
	}
	return n
}

func listLen(l crclient.ObjectList) int {
	switch l := l.(type) {
	case *appsv1.DeploymentList:
		return len(l.Items)
	case *appsv1.ReplicaSetList:
		return len(l.Items)
	case *corev1.PodList:
		return len(l.Items)
	case *corev1.EndpointsList:
		return len(l.Items)
	case *discoveryv1.EndpointSliceList:
		return len(l.Items)
	}
	return -1
}

// A node that falls silent is marked, drained after the five minutes that pods
// tolerate, and taken back when it speaks again.
func TestSilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := start(t)
		c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
		n := c.node("a")
		c.node("b")
		settle() // a new node is tainted until it is known to be ready: pods must find both
		d, _ := web("shop")
		seconds := int64(300)
		d.Spec.Template.Spec.Tolerations = []corev1.Toleration{
			{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
			{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
		}
		c.create(d)
		settle()
		c.kubelet("a", 0)
		c.kubelet("b", 1)
		for range 3 {
			time.Sleep(30 * time.Second)
			c.beat("b")
		}
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(n), n))
		ready := n.Status.Conditions[slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })]
		if ready.Status != corev1.ConditionUnknown || ready.Message != "Kubelet stopped posting node status." || len(n.Spec.Taints) != 2 {
			t.Fatalf("silent node: %+v, taints %+v", ready, n.Spec.Taints)
		}
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(d), d))
		if d.Status.ReadyReplicas == 3 {
			t.Errorf("pods of a silent node count as ready: %+v", d.Status)
		}
		for range 12 {
			time.Sleep(30 * time.Second)
			c.beat("b")
			c.kubelet("b", 1)
		}
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(d), d))
		if d.Status.ReadyReplicas != 3 {
			t.Errorf("pods were not replaced: %+v", d.Status)
		}
		c.beat("a")
		settle()
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(n), n))
		if len(n.Spec.Taints) != 0 {
			t.Errorf("taints of a node that is back: %+v", n.Spec.Taints)
		}
		// Its pods that were waiting to end go with the node.
		c.must(c.Delete(ctx, n))
		time.Sleep(2 * time.Minute)
		settle()
		var pods corev1.PodList
		c.must(c.List(ctx, &pods, crclient.MatchingFields{"spec.nodeName": "a"}))
		if len(pods.Items) != 0 {
			t.Errorf("%d pods of a node that is gone", len(pods.Items))
		}
	})
}

// Idle controllers and the scheduler keep little memory and no running timers.
func TestIdleCost(t *testing.T) {
	measure := func() (heap uint64, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	s := mem.New()
	defer s.Close()
	srv, err := apiserver.New(t.Context(), apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	sch := scheme.New()
	heap, goroutines := measure()
	p := client.NewInProcess(srv.InProcess(&auth.User{Name: "skiff"}), sch)
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	env := &loop.Env{Client: p, Cache: p, Kinds: p, Log: log, Config: loop.Config{RootCA: []byte("pem"), PodCIDR: "10.244.0.0/16"}}
	if err := controllers.Start(ctx, env); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	go func() { p.Start(ctx); ended <- struct{}{} }()
	sched := &scheduler.Scheduler{Client: p, Cache: p, Log: log, Recorder: client.NewRecorder(p, "default-scheduler", "host", log)}
	go func() { sched.Run(ctx); ended <- struct{}{} }()
	if !p.WaitForCacheSync(ctx) {
		t.Fatal("not synced")
	}
	after, more := measure()
	t.Logf("controllers and scheduler idle: %d KB of heap and stacks, %d goroutines", (int64(after)-int64(heap))/1024, more-goroutines)
	if int64(after)-int64(heap) > 5<<20 {
		t.Errorf("%d bytes are over the budget of 5 MB", after-heap)
	}
	cancel()
	<-ended
	<-ended
	env.Wait()
}

// BenchmarkPods is what controllers and scheduler spend on a Deployment of 50: from
// its creation until every pod is bound, on a store in memory.
func BenchmarkPods(b *testing.B) {
	c := start(b)
	ctx := context.Background()
	c.node("a")
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for i := 0; b.Loop(); i++ {
		w, err := c.Watch(ctx, &corev1.PodList{}, crclient.InNamespace("shop"))
		c.must(err)
		d, _ := web("shop")
		d.Name = fmt.Sprint("web-", i)
		*d.Spec.Replicas = 50
		l := map[string]string{"app": d.Name}
		d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = l, l
		c.create(d)
		bound := map[string]bool{}
		for len(bound) < 50 {
			e := <-w.ResultChan()
			if p, ok := e.Object.(*corev1.Pod); ok && p.Spec.NodeName != "" && p.Labels["app"] == d.Name {
				bound[p.Name] = true
			}
		}
		w.Stop()
		b.StopTimer()
		c.must(c.Delete(ctx, d))
		c.must(c.DeleteAllOf(ctx, &appsv1.ReplicaSet{}, crclient.InNamespace("shop"), crclient.PropagationPolicy(metav1.DeletePropagationOrphan)))
		c.must(c.DeleteAllOf(ctx, &corev1.Pod{}, crclient.InNamespace("shop"), crclient.GracePeriodSeconds(0)))
		b.StartTimer()
	}
}
