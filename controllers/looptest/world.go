// Package looptest is a cluster in memory for tests of controllers: the backend of
// clienttest, and pods that come and go as the test says. Use it within
// testing/synctest: Settle waits until nothing moves any more.
package looptest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
	"skiff.dev/skiff/controllers/loop"
)

// World is one cluster.
type World struct {
	T       *testing.T
	Ctx     context.Context
	Backend *clienttest.Backend
	Client  *client.InProcess
	Env     *loop.Env
}

// Start makes a cluster with the namespace "default" and runs controllers in it
// until the test ends.
func Start(t *testing.T, config loop.Config, controllers ...func(context.Context, *loop.Env) error) *World {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := clienttest.NewBackend(clienttest.Table())
	p := client.NewInProcess(b, clienttest.Scheme())
	w := &World{T: t, Ctx: ctx, Backend: b, Client: p, Env: &loop.Env{
		Client: p, Cache: p, Kinds: p, Log: slog.New(slog.DiscardHandler), Config: config,
	}}
	w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	for _, c := range controllers {
		if err := c(ctx, w.Env); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Start(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		w.Env.Wait()
	})
	return w
}

// Settle waits until every goroutine waits, for pauses of up to a second too.
func (w *World) Settle() {
	w.T.Helper()
	for range 10 {
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
}

// Create stores objects.
func (w *World) Create(objs ...crclient.Object) {
	w.T.Helper()
	for _, obj := range objs {
		if err := w.Client.Create(w.Ctx, obj); err != nil {
			w.T.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// Get reads an object again.
func (w *World) Get(obj crclient.Object) {
	w.T.Helper()
	if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(obj), obj); err != nil {
		w.T.Fatalf("get %T %s: %v", obj, obj.GetName(), err)
	}
}

// Update writes an object after change was made to its newest state.
func Update[T crclient.Object](w *World, obj T, change func(T)) {
	w.T.Helper()
	w.Get(obj)
	change(obj)
	if err := w.Client.Update(w.Ctx, obj); err != nil {
		w.T.Fatalf("update %T %s: %v", obj, obj.GetName(), err)
	}
}

// UpdateStatus is Update of the status.
func UpdateStatus[T crclient.Object](w *World, obj T, change func(T)) {
	w.T.Helper()
	w.Get(obj)
	change(obj)
	if err := w.Client.Status().Update(w.Ctx, obj); err != nil {
		w.T.Fatalf("update the status of %T %s: %v", obj, obj.GetName(), err)
	}
}

// Delete deletes an object.
func (w *World) Delete(obj crclient.Object, opts ...crclient.DeleteOption) {
	w.T.Helper()
	if err := w.Client.Delete(w.Ctx, obj, opts...); err != nil {
		w.T.Fatalf("delete %T %s: %v", obj, obj.GetName(), err)
	}
}

// Pods lists the pods of a namespace.
func (w *World) Pods(namespace string) []corev1.Pod {
	w.T.Helper()
	var list corev1.PodList
	if err := w.Client.List(w.Ctx, &list, crclient.InNamespace(namespace)); err != nil {
		w.T.Fatal(err)
	}
	return list.Items
}

// RunPods makes every pod that match accepts run and be ready on node-1, as a
// kubelet would, and ends those being deleted.
func (w *World) RunPods(match func(*corev1.Pod) bool) {
	w.T.Helper()
	for _, p := range w.Pods("") {
		if match != nil && !match(&p) {
			continue
		}
		if p.DeletionTimestamp != nil {
			w.Delete(&p, crclient.GracePeriodSeconds(0))
			continue
		}
		if loop.Ready(&p) {
			continue
		}
		if p.Spec.NodeName == "" {
			Update(w, &p, func(p *corev1.Pod) { p.Spec.NodeName = "node-1" })
		}
		UpdateStatus(w, &p, func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		})
	}
}

// Events lists "reason: message" of what was recorded, in order of time.
func (w *World) Events() []string {
	w.T.Helper()
	var list corev1.EventList
	if err := w.Client.List(w.Ctx, &list); err != nil {
		w.T.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int {
		return strings.Compare(a.Name[strings.LastIndex(a.Name, "."):], b.Name[strings.LastIndex(b.Name, "."):])
	})
	var out []string
	for _, e := range list.Items {
		out = append(out, fmt.Sprintf("%s: %s", e.Reason, e.Message))
	}
	return out
}
