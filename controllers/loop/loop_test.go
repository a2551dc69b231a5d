package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestQueueWorksOnEachKeyOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		active, done, most := map[int]bool{}, 0, 0
		q := newQueue(3, func(k int) {
			mu.Lock()
			if active[k] {
				t.Errorf("key %d is worked on twice at a time", k)
			}
			active[k] = true
			most = max(most, len(active))
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			delete(active, k)
			done++
			mu.Unlock()
		})
		for k := range 10 {
			q.add(k)
			q.add(k)
		}
		synctest.Wait()
		if done != 0 || most != 0 {
			t.Fatal("work began before start")
		}
		q.start()
		synctest.Wait()
		q.add(0) // while it is worked on: once more
		q.add(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if done != 11 || most != 3 {
			t.Fatalf("%d done, %d at a time", done, most)
		}
		if q.workers != 0 {
			t.Fatalf("%d workers without work", q.workers)
		}
		q.stop()
		q.add(1)
		if len(q.ready) != 0 {
			t.Fatal("a stopped queue takes keys")
		}
	})
}

func TestQueueLaterAndBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []string
		q := newQueue(1, func(k string) { at = append(at, fmt.Sprint(k, time.Since(start))) })
		q.start()
		q.after("b", 2*time.Second)
		q.after("a", time.Hour)
		q.after("a", time.Second)
		q.after("a", time.Minute) // the earlier one counts
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if fmt.Sprint(at) != "[a1s b2s]" {
			t.Fatalf("%v", at)
		}
		at, start = nil, time.Now()
		for range 4 {
			q.failed("f")
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if fmt.Sprint(at) != "[f5ms f1m0.01s f2m0.02s f3m0.04s]" {
			t.Fatalf("%v", at)
		}
		q.succeeded("f")
		start, at = time.Now(), nil
		q.failed("f")
		time.Sleep(time.Second)
		synctest.Wait()
		if fmt.Sprint(at) != "[f5ms]" {
			t.Fatalf("%v", at)
		}
		q.stop()
	})
}

func TestExpectations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x Expectations
		if !x.Met("o") {
			t.Fatal("nothing is expected")
		}
		x.Expect("o", 2)
		x.Created("o")
		if x.Met("o") {
			t.Fatal("one creation is missing")
		}
		x.Created("o")
		x.Expect("p", 0, "a", "b")
		x.Deleted("p", "a")
		x.Deleted("p", "a")
		x.Deleted("p", "c")
		if !x.Met("o") || x.Met("p") {
			t.Fatal("deletions are counted by what was deleted")
		}
		time.Sleep(6 * time.Minute)
		if !x.Met("p") {
			t.Fatal("expected for ever")
		}
		x.Forget("p")
	})
}

func TestDecide(t *testing.T) {
	now := metav1.Now()
	owner := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", UID: "owner"}}
	ending := owner.DeepCopy()
	ending.DeletionTimestamp = &now
	sel := labels.SelectorFromSet(labels.Set{"a": "b"})
	yes := true
	obj := func(ref types.UID, match, deleted bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}}
		if ref != "" {
			p.OwnerReferences = []metav1.OwnerReference{{UID: ref, Controller: &yes}}
		}
		if match {
			p.Labels = map[string]string{"a": "b"}
		}
		if deleted {
			p.DeletionTimestamp = &now
		}
		return p
	}
	for i, c := range []struct {
		owner, obj *corev1.Pod
		want       Claim
	}{
		{owner, obj("other", true, false), Leave},
		{owner, obj("owner", true, false), Keep},
		{ending, obj("owner", true, false), Keep},
		{owner, obj("owner", false, false), Release},
		{ending, obj("owner", false, false), Leave},
		{owner, obj("", true, false), Adopt},
		{ending, obj("", true, false), Leave},
		{owner, obj("", true, true), Leave},
		{owner, obj("", false, false), Leave},
	} {
		if got := Decide(c.owner, c.obj, sel); got != c.want {
			t.Errorf("case %d: %v, want %v", i, got, c.want)
		}
	}
}

func TestStartReturnsWhatCouldNotBeFollowed(t *testing.T) {
	refused := errors.New("refused")
	env := &Env{Cache: &informertest.FakeInformers{Error: refused}}
	l := New(t.Context(), env, "test", 1, Func[Request](func(context.Context, Request) (reconcile.Result, error) {
		t.Error("worked without its events")
		return reconcile.Result{}, nil
	}))
	On(l, &corev1.Pod{}, Enqueue[*corev1.Pod](l))
	l.Add(Request{})
	if err := l.Start(); !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), "test: follow *v1.Pod: ") {
		t.Errorf("%v", err)
	}
	env.Wait()
}
