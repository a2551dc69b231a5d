package replicaset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
	"skiff.dev/skiff/kinds"
)

func set(name string, replicas int32) *appsv1.ReplicaSet {
	l := map[string]string{"app": name}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: l},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}},
		},
	}
}

func TestScaleUpAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		rs := set("web", 5)
		w.Create(rs)
		w.Settle()
		pods := w.Pods("default")
		if len(pods) != 5 || !strings.HasPrefix(pods[0].Name, "web-") || !metav1.IsControlledBy(&pods[0], rs) {
			t.Fatalf("%d pods, the first %+v", len(pods), pods)
		}
		w.RunPods(nil)
		w.Settle()
		w.Get(rs)
		if s := rs.Status; s.Replicas != 5 || s.ReadyReplicas != 5 || s.AvailableReplicas != 5 || s.FullyLabeledReplicas != 5 || s.ObservedGeneration != 1 {
			t.Fatalf("status %+v", s)
		}
		looptest.Update(w, rs, func(rs *appsv1.ReplicaSet) { *rs.Spec.Replicas = 2 })
		w.Settle()
		w.Get(rs)
		if s := rs.Status; s.Replicas != 2 || *s.TerminatingReplicas != 3 {
			t.Fatalf("status amid deletion %+v", s)
		}
		w.RunPods(nil)
		w.Settle()
		w.Get(rs)
		if n := len(w.Pods("default")); n != 2 || *rs.Status.TerminatingReplicas != 0 {
			t.Fatalf("%d pods left, status %+v", n, rs.Status)
		}
		before := w.Backend.Writes()
		w.Settle()
		time.Sleep(time.Hour)
		if now := w.Backend.Writes(); now != before {
			t.Fatalf("%d writes while nothing changed", now-before)
		}
	})
}

func TestAdoptAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"}}}
		w.Create(orphan)
		rs := set("web", 2)
		w.Create(rs)
		w.Settle()
		w.Get(orphan)
		if !metav1.IsControlledBy(orphan, rs) || len(w.Pods("default")) != 2 {
			t.Fatalf("orphan was not adopted: %+v, %d pods", orphan.OwnerReferences, len(w.Pods("default")))
		}
		looptest.Update(w, orphan, func(p *corev1.Pod) { p.Labels["app"] = "other" })
		w.Settle()
		w.Get(orphan)
		if len(orphan.OwnerReferences) != 0 || len(w.Pods("default")) != 3 {
			t.Fatalf("pod was not released and replaced: %+v, %d pods", orphan.OwnerReferences, len(w.Pods("default")))
		}
		// A pod that stops being one of ours may become ours again.
		looptest.Update(w, orphan, func(p *corev1.Pod) { p.Labels["app"] = "web" })
		w.Settle()
		if n := len(w.Pods("default")); n != 2 {
			t.Fatalf("%d pods after the orphan came back", n)
		}
	})
}

func TestFailureIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		var tries atomic.Int32
		var allow atomic.Bool
		w.Backend.Fail = func(verb, _ string, k *kinds.Kind, _, _ string) error {
			if !allow.Load() && verb == "create" && k.Kind == "Pod" {
				tries.Add(1)
				return errors.New("no pods today")
			}
			return nil
		}
		rs := set("web", 50)
		w.Create(rs)
		synctest.Wait()
		if tries.Load() > 5 {
			t.Fatalf("%d attempts before the first failure was known", tries.Load())
		}
		w.Get(rs)
		if len(rs.Status.Conditions) != 1 || rs.Status.Conditions[0].Reason != "FailedCreate" || rs.Status.Conditions[0].Message != "no pods today" {
			t.Fatalf("conditions %+v", rs.Status.Conditions)
		}
		allow.Store(true)
		w.Settle()
		w.Get(rs)
		if n := len(w.Pods("default")); n != 50 || len(rs.Status.Conditions) != 0 {
			t.Fatalf("%d pods, conditions %+v", n, rs.Status.Conditions)
		}
		if e := w.Events(); !slices.Contains(e, "FailedCreate: Error creating: no pods today") {
			t.Fatalf("events %v", e)
		}
	})
}

func TestMinReadySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		rs := set("web", 1)
		rs.Spec.MinReadySeconds = 30
		w.Create(rs)
		w.Settle()
		w.RunPods(nil)
		w.Settle()
		w.Get(rs)
		if rs.Status.ReadyReplicas != 1 || rs.Status.AvailableReplicas != 0 {
			t.Fatalf("status %+v", rs.Status)
		}
		time.Sleep(31 * time.Second)
		w.Settle()
		w.Get(rs)
		if rs.Status.AvailableReplicas != 1 {
			t.Fatalf("status after minReadySeconds %+v", rs.Status)
		}
	})
}

func TestVictims(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
			Spec:       corev1.PodSpec{NodeName: name},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
			}}},
		}
		change(p)
		return p
	}
	ready := func(p *corev1.Pod, at time.Time) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at) }
	pods := []*corev1.Pod{
		pod("a-plain", func(p *corev1.Pod) {}),
		pod("fresh", func(p *corev1.Pod) { ready(p, now.Add(-time.Second)) }),
		pod("crowded", func(p *corev1.Pod) { p.Spec.NodeName = "busy" }),
		pod("restarted", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
		}),
		pod("cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} }),
		pod("unready", func(p *corev1.Pod) { p.Status.Conditions = nil }),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase, p.Status.Conditions = corev1.PodPending, nil }),
		pod("unassigned", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase, p.Status.Conditions = "", corev1.PodPending, nil }),
	}
	busy := pod("another", func(p *corev1.Pod) { p.Spec.NodeName = "busy" })
	var got []string
	for _, p := range victims(pods, append([]*corev1.Pod{busy}, pods...), len(pods)-1, now) {
		got = append(got, p.Name)
	}
	want := "[unassigned pending unready cheap crowded fresh restarted]"
	if fmt.Sprint(got) != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestSlowStart(t *testing.T) {
	for _, c := range []struct{ n, failAfter, done int }{{0, 100, 0}, {10, 100, 10}, {10, 0, 0}} {
		n := make(chan int, 1)
		n <- 0
		done, err := slowStart(c.n, func() error {
			i := <-n
			n <- i + 1
			if i >= c.failAfter {
				return errors.New("no")
			}
			return nil
		})
		if done != c.done || (err != nil) != (c.done != c.n) {
			t.Errorf("%+v: done %d, %v", c, done, err)
		}
	}
}
