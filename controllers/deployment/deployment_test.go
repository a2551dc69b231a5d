package deployment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
	"skiff.dev/skiff/controllers/replicaset"
)

func deploy(replicas int32) *appsv1.Deployment {
	l := map[string]string{"app": "web"}
	quarter, deadline, limit := intstr.FromString("25%"), int32(600), int32(10)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: l},
			ProgressDeadlineSeconds: &deadline, RevisionHistoryLimit: &limit,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: l},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "one"}}},
			},
		},
	}
}

func image(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = name }
}

// sizes shows every ReplicaSet as image=size/available@revision.
func sizes(w *looptest.World) string {
	var list appsv1.ReplicaSetList
	if err := w.Client.List(w.Ctx, &list); err != nil {
		w.T.Fatal(err)
	}
	var out []string
	for _, rs := range list.Items {
		out = append(out, fmt.Sprintf("%s=%d/%d@%s", rs.Spec.Template.Spec.Containers[0].Image, *rs.Spec.Replicas, rs.Status.AvailableReplicas, rs.Annotations[revisionAnnotation]))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func want(t *testing.T, w *looptest.World, what string) {
	t.Helper()
	if got := sizes(w); got != what {
		t.Fatalf("replica sets %s, want %s", got, what)
	}
}

func progress(w *looptest.World, d *appsv1.Deployment) string {
	w.Get(d)
	c := condition(&d.Status, appsv1.DeploymentProgressing)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s", c.Status, c.Reason)
}

func TestRollingUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		d := deploy(10)
		w.Create(d)
		w.Settle()
		want(t, w, "one=10/0@1")
		if p := progress(w, d); p != "True ReplicaSetUpdated" {
			t.Fatalf("progress %s", p)
		}
		w.RunPods(nil)
		w.Settle()
		if p := progress(w, d); p != "True NewReplicaSetAvailable" || d.Annotations[revisionAnnotation] != "1" {
			t.Fatalf("progress %s, annotations %v", p, d.Annotations)
		}
		if c := condition(&d.Status, appsv1.DeploymentAvailable); c.Reason != reasonAvailable || c.Message != "Deployment has minimum availability." {
			t.Fatalf("available %+v", c)
		}
		looptest.Update(w, d, image("two"))
		w.Settle()
		// 25% of 10: 3 more at most, 2 less at most.
		want(t, w, "one=8/8@1 two=5/0@2")
		isNew := func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || p.Spec.Containers[0].Image == "two" }
		for range 5 {
			w.RunPods(isNew)
			w.Settle()
		}
		want(t, w, "one=0/0@1 two=10/10@2")
		if p := progress(w, d); p != "True NewReplicaSetAvailable" || d.Status.Replicas != 10 {
			t.Fatalf("progress %s, status %+v", p, d.Status)
		}
		// kubectl rollout undo puts the old template back.
		looptest.Update(w, d, image("one"))
		for range 6 {
			w.Settle()
			w.RunPods(nil)
		}
		w.Settle()
		want(t, w, "one=10/10@3 two=0/0@2")
		w.Get(d)
		if d.Annotations[revisionAnnotation] != "3" {
			t.Fatalf("revision %v", d.Annotations)
		}
		before := w.Backend.Writes()
		time.Sleep(time.Hour)
		w.Settle()
		if n := w.Backend.Writes(); n != before {
			t.Fatalf("%d writes while nothing changed", n-before)
		}
		first := w.Events()
		if !slices.ContainsFunc(first, func(e string) bool {
			return strings.HasPrefix(e, "ScalingReplicaSet: Scaled up replica set web-") && strings.HasSuffix(e, "from 0 to 10")
		}) {
			t.Fatalf("events %v", first)
		}
	})
}

func TestRecreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		d := deploy(3)
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		w.Create(d)
		w.Settle()
		w.RunPods(nil)
		w.Settle()
		looptest.Update(w, d, image("two"))
		w.Settle()
		want(t, w, "one=0/0@1")
		w.RunPods(nil) // the old pods end
		w.Settle()
		want(t, w, "one=0/0@1 two=3/0@2")
	})
}

func TestPauseAndScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		d := deploy(10)
		w.Create(d)
		w.Settle()
		w.RunPods(nil)
		w.Settle()
		looptest.Update(w, d, image("two"))
		w.Settle()
		want(t, w, "one=8/8@1 two=5/0@2")
		looptest.Update(w, d, func(d *appsv1.Deployment) { d.Spec.Paused = true })
		w.Settle()
		if p := progress(w, d); p != "Unknown DeploymentPaused" {
			t.Fatalf("progress %s", p)
		}
		// Amid a rollout a change of size is spread in proportion: 20 and a surge of 5.
		looptest.Update(w, d, func(d *appsv1.Deployment) { *d.Spec.Replicas = 20 })
		w.Settle()
		want(t, w, "one=15/8@1 two=10/0@2")
		looptest.Update(w, d, func(d *appsv1.Deployment) { d.Spec.Paused = false })
		for range 8 {
			w.Settle()
			w.RunPods(nil)
		}
		w.Settle()
		want(t, w, "one=0/0@1 two=20/20@2")
	})
}

func TestProgressDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		d := deploy(1)
		w.Create(d)
		w.Settle()
		time.Sleep(11 * time.Minute)
		w.Settle()
		if p := progress(w, d); p != "False ProgressDeadlineExceeded" {
			t.Fatalf("progress %s", p)
		}
		w.RunPods(nil)
		w.Settle()
		if p := progress(w, d); p != "True NewReplicaSetAvailable" {
			t.Fatalf("progress %s", p)
		}
	})
}

func TestHistoryLimitAndChangeCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		d := deploy(1)
		*d.Spec.RevisionHistoryLimit = 1
		w.Create(d)
		for i := range 4 {
			for range 3 {
				w.Settle()
				w.RunPods(nil)
			}
			looptest.Update(w, d, func(d *appsv1.Deployment) {
				image(fmt.Sprint("v", i))(d)
				if d.Annotations == nil {
					d.Annotations = map[string]string{}
				}
				d.Annotations["kubernetes.io/change-cause"] = fmt.Sprint("cause ", i)
			})
		}
		for range 4 {
			w.Settle()
			w.RunPods(nil)
		}
		w.Settle()
		want(t, w, "v2=0/0@4 v3=1/1@5")
		var list appsv1.ReplicaSetList
		if err := w.Client.List(w.Ctx, &list, crclient.InNamespace("default")); err != nil {
			t.Fatal(err)
		}
		for _, rs := range list.Items {
			if i := rs.Spec.Template.Spec.Containers[0].Image[1:]; rs.Annotations["kubernetes.io/change-cause"] != "cause "+i {
				t.Fatalf("%s: %v", i, rs.Annotations)
			}
		}
	})
}

func TestHashCollision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deploy(1)
		w := looptest.Start(t, loop.Config{}, Start, replicaset.Start)
		foreign := newReplicaSet(d)
		foreign.OwnerReferences = nil
		foreign.Labels, foreign.Spec.Selector.MatchLabels, foreign.Spec.Template.Labels = nil, map[string]string{"a": "b"}, map[string]string{"a": "b"}
		w.Create(foreign)
		w.Create(d)
		w.Settle()
		w.Get(d)
		if d.Status.CollisionCount == nil || *d.Status.CollisionCount != 1 || d.Status.UpdatedReplicas != 1 {
			t.Fatalf("status %+v", d.Status)
		}
	})
}

// A hash has the letters of Kubernetes' safe encoding, and a collision changes it.
func TestTemplateHash(t *testing.T) {
	d := deploy(1)
	one := int32(1)
	a, b := templateHash(&d.Spec.Template, nil), templateHash(&d.Spec.Template, &one)
	if a == b || len(a) < 6 || len(a) > 10 {
		t.Fatalf("%s %s", a, b)
	}
	for _, c := range a + b {
		if !strings.ContainsRune("bcdfghjklmnpqrstvwxz2456789", c) {
			t.Fatalf("%s %s: %c is not an encoded digit", a, b, c)
		}
	}
}

func TestFence(t *testing.T) {
	for _, c := range []struct {
		replicas           int32
		surge, unavailable string
		wantS, wantU       int32
	}{
		{10, "25%", "25%", 3, 2}, {1, "25%", "25%", 1, 0}, {3, "0", "0", 0, 1}, {4, "100%", "0", 4, 0}, {2, "1", "5", 1, 2}, {0, "1", "1", 1, 0},
	} {
		d := deploy(c.replicas)
		s, u := intstr.Parse(c.surge), intstr.Parse(c.unavailable)
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}
		if gs, gu := maxSurge(d), maxUnavailable(d); gs != c.wantS || gu != c.wantU {
			t.Errorf("%+v: surge %d, unavailable %d", c, gs, gu)
		}
	}
}

func TestRevisionHistory(t *testing.T) {
	d := deploy(1)
	rs := &appsv1.ReplicaSet{}
	for _, next := range []int64{1, 3, 5, 5, 4} {
		annotate(d, rs, next)
	}
	if rs.Annotations[revisionAnnotation] != "5" || rs.Annotations[historyAnnotation] != "1,3" {
		t.Fatalf("%v", rs.Annotations)
	}
}
