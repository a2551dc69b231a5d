package controllers_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/controllers"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/scheduler"
	"skiff.dev/skiff/store/mem"
)

// overHTTP is a server, and controllers and scheduler that know it by its address
// alone.
func overHTTP(t *testing.T) (context.Context, crclient.WithWatch) {
	s := mem.New()
	t.Cleanup(func() { s.Close() })
	table := all.Table()
	groups := discovery.New(discovery.Options{Table: table})
	var paths []apiserver.PathHandler
	for _, p := range []string{"/api", "/apis", "/api/", "/apis/"} {
		paths = append(paths, apiserver.PathHandler{Path: p, Handler: groups})
	}
	srv, err := apiserver.New(t.Context(), apiserver.Options{Store: s, Table: table, Scheme: scheme.New(), Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	h := httptest.NewServer(srv.Handler())
	t.Cleanup(h.Close)
	r, err := client.NewRemote(&rest.Config{Host: h.URL, QPS: -1}, scheme.New())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	log := slog.New(slog.DiscardHandler)
	env := &loop.Env{Client: r.Client, Cache: r.Cache, Kinds: r, Log: log, Config: loop.Config{PodCIDR: "10.244.0.0/16"}}
	if err := controllers.Start(ctx, env); err != nil {
		t.Fatal(err)
	}
	sched := &scheduler.Scheduler{Client: r.Client, Cache: r.Cache, Log: log, Recorder: client.NewRecorder(r.Client, "default-scheduler", "host", log)}
	ended := make(chan struct{}, 2)
	go func() { r.Cache.Start(ctx); ended <- struct{}{} }()
	go func() { sched.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		env.Wait()
	})
	return ctx, r.Client
}

// Nothing in a controller knows whether its server is in the same process.
func TestControlPlaneOverHTTP(t *testing.T) {
	ctx, c := overHTTP(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(crclient.IgnoreAlreadyExists(c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})))
	(&cluster{t: t}).readyNode(ctx, c, "a")
	pods, err := c.Watch(ctx, &corev1.PodList{}, crclient.InNamespace("shop"))
	check(err)
	defer pods.Stop()
	d, svc := web("shop")
	check(c.Create(ctx, svc))
	check(c.Create(ctx, d))
	slices, err := c.Watch(ctx, &discoveryv1.EndpointSliceList{}, crclient.InNamespace("shop"))
	check(err)
	defer slices.Stop()
	sets, err := c.Watch(ctx, &appsv1.DeploymentList{}, crclient.InNamespace("shop"))
	check(err)
	defer sets.Stop()

	available, ready := false, 0
	for n := byte(2); !available || ready != 3; {
		select {
		case e := <-pods.ResultChan():
			p, ok := e.Object.(*corev1.Pod)
			if !ok || e.Type == watch.Deleted || p.Spec.NodeName == "" || p.Status.PodIP != "" {
				continue
			}
			n++
			p = p.DeepCopy()
			p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.244.0."+string('0'+rune(n))
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
			if err := c.Status().Update(ctx, p); err != nil {
				n-- // late: the event of the newer state follows
			}
		case e := <-slices.ResultChan():
			if s, ok := e.Object.(*discoveryv1.EndpointSlice); ok {
				ready = len(s.Endpoints)
			}
		case e := <-sets.ResultChan():
			if d, ok := e.Object.(*appsv1.Deployment); ok {
				available = d.Status.AvailableReplicas == 3
			}
		case <-ctx.Done():
			t.Fatalf("available %v, %d endpoints", available, ready)
		}
	}
	var list corev1.PodList
	check(c.List(ctx, &list, crclient.InNamespace("shop")))
	if len(list.Items) != 3 {
		t.Fatalf("%d pods were made for 3 replicas", len(list.Items))
	}
}
