package podgc

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func pod(name, node string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func left(w *looptest.World) string {
	var out []string
	for _, p := range w.Pods("") {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func TestPodsOfGoneNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		w.Create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "there"}})
		w.Create(pod("kept", "there", corev1.PodRunning), pod("lost", "gone", corev1.PodRunning), pod("early", "late", corev1.PodRunning))
		time.Sleep(30 * time.Second)
		w.Create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "late"}})
		w.Settle()
		if got := left(w); got != "[early kept lost]" {
			t.Fatalf("before the quarantine ends: %s", got)
		}
		time.Sleep(time.Minute)
		w.Settle()
		if got := left(w); got != "[early kept]" {
			t.Fatalf("after: %s", got)
		}
	})
}

func TestFinishedBeyondThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{TerminatedPods: 2}, Start)
		for i := range 5 {
			w.Create(pod(fmt.Sprint("p", i), "", corev1.PodSucceeded))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		w.Settle()
		if got := left(w); got != "[p3 p4]" {
			t.Fatalf("left: %s", got)
		}
	})
}
