package garbagecollector

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func object1(name string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	yes := true
	for _, o := range owners {
		cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: &yes})
	}
	return cm
}

func names(w *looptest.World) string {
	var list corev1.ConfigMapList
	if err := w.Client.List(w.Ctx, &list); err != nil {
		w.T.Fatal(err)
	}
	var out []string
	for _, cm := range list.Items {
		out = append(out, fmt.Sprintf("%s(%d)", cm.Name, len(cm.OwnerReferences)))
	}
	return fmt.Sprint(out)
}

// family makes a grandparent, a parent, and children of one and of two parents.
func family(w *looptest.World) (grand, parent *corev1.ConfigMap) {
	grand = object1("grand")
	w.Create(grand)
	parent, other := object1("parent", grand), object1("other")
	w.Create(parent, other)
	w.Create(object1("child", parent), object1("shared", parent, other))
	w.Settle()
	return grand, parent
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationBackground: "[other(0) shared(1)]",
		metav1.DeletePropagationForeground: "[other(0) shared(1)]",
		metav1.DeletePropagationOrphan:     "[child(1) other(0) parent(0) shared(2)]",
	} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := looptest.Start(t, loop.Config{}, Start)
				grand, _ := family(w)
				if got := names(w); got != "[child(1) grand(0) other(0) parent(1) shared(2)]" {
					t.Fatalf("before: %s", got)
				}
				w.Delete(grand, crclient.PropagationPolicy(policy))
				w.Settle()
				w.Settle()
				if got := names(w); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
				before := w.Backend.Writes()
				time.Sleep(time.Hour)
				if n := w.Backend.Writes() - before; n != 0 {
					t.Fatalf("%d writes while nothing changed", n)
				}
			})
		})
	}
}

func TestForegroundWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		owner := object1("owner")
		w.Create(owner)
		held := object1("held", owner)
		held.Finalizers = []string{"example.com/hold"}
		w.Create(held)
		w.Settle()
		w.Delete(owner, crclient.PropagationPolicy(metav1.DeletePropagationForeground))
		w.Settle()
		if got := names(w); got != "[held(1) owner(0)]" {
			t.Fatalf("while a dependent is held: %s", got)
		}
		looptest.Update(w, held, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
		w.Settle()
		if got := names(w); got != "[]" {
			t.Fatalf("after: %s", got)
		}
	})
}

func TestAbsentOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		gone := object1("gone")
		gone.UID = "never-was"
		w.Create(object1("orphan", gone))
		// The name exists with another uid: that is not the owner either.
		namesake := object1("namesake")
		w.Create(namesake)
		stale := *namesake
		stale.UID = "of-before"
		w.Create(object1("of-namesake", &stale))
		// An owner of a kind that nobody serves keeps what it owns.
		odd := object1("odd")
		odd.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "t", UID: "t"}}
		w.Create(odd)
		w.Settle()
		if got := names(w); got != "[namesake(0) odd(1)]" {
			t.Fatalf("left: %s", got)
		}
	})
}

func TestCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		a := object1("a")
		w.Create(a)
		b := object1("b", a)
		w.Create(b)
		looptest.Update(w, a, func(cm *corev1.ConfigMap) { cm.OwnerReferences = object1("", b).OwnerReferences })
		w.Settle()
		w.Delete(a, crclient.PropagationPolicy(metav1.DeletePropagationForeground))
		w.Settle()
		w.Settle()
		if got := names(w); got != "[]" {
			t.Fatalf("left: %s", got)
		}
	})
}
