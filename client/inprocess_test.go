package client_test

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
)

func open(t *testing.T) (*clienttest.Backend, *client.InProcess) {
	b := clienttest.NewBackend(clienttest.Table())
	p := client.NewInProcess(b, clienttest.Scheme())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if err := p.Create(context.Background(), ns); err != nil {
		t.Fatal(err)
	}
	return b, p
}

func TestInProcess(t *testing.T) {
	clienttest.Run(t, func(t *testing.T) clienttest.Pair {
		_, p := open(t)
		return clienttest.Pair{Client: p, Cache: p}
	})
}

type script struct{ lines []string }

func (s *script) OnAdd(obj any, initial bool) {
	word := "add "
	if initial {
		word = "initial "
	}
	s.lines = append(s.lines, word+obj.(crclient.Object).GetName())
}
func (s *script) OnUpdate(old, obj any) {
	s.lines = append(s.lines, "update "+obj.(crclient.Object).GetName())
}
func (s *script) OnDelete(obj any) {
	if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		s.lines = append(s.lines, "missed delete "+d.Key)
		return
	}
	s.lines = append(s.lines, "delete "+obj.(crclient.Object).GetName())
}

// An informer whose history is gone lists again and tells only the difference.
func TestInformerListsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		make := func(name string) *corev1.ConfigMap {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
			if err := p.Create(ctx, cm); err != nil {
				t.Fatal(err)
			}
			return cm
		}
		kept, changed, gone, again := make("kept"), make("changed"), make("gone"), make("again")
		_ = kept
		inf, err := p.GetInformer(ctx, &corev1.ConfigMap{})
		if err != nil {
			t.Fatal(err)
		}
		s := &script{}
		if _, err := inf.AddEventHandler(s); err != nil {
			t.Fatal(err)
		}
		go p.Start(ctx)
		synctest.Wait()
		if len(s.lines) != 4 {
			t.Fatalf("first: %v", s.lines)
		}
		s.lines = nil
		// Both happen at once for the informer: it cannot run between them.
		b.Atomically(func() {
			changed.Data = map[string]string{"a": "b"}
			b.MustUpdate(changed)
			b.MustDelete(gone)
			b.MustDelete(again)
			b.MustCreate(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "again"}})
		})
		synctest.Wait()
		want := "update changed|missed delete default/again|add again|missed delete default/gone"
		got := map[string]bool{}
		for _, l := range s.lines {
			got[l] = true
		}
		if len(s.lines) != 4 || !got["update changed"] || !got["missed delete default/again"] || !got["add again"] || !got["missed delete default/gone"] {
			t.Fatalf("heard %v, want %s", s.lines, want)
		}
		cancel()
		synctest.Wait()
	})
}

func TestRESTMapper(t *testing.T) {
	_, p := open(t)
	m := p.RESTMapper()
	got, err := m.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil || got.Resource.Resource != "deployments" || got.Resource.Version != "v1" {
		t.Fatalf("%+v %v", got, err)
	}
	kind, err := m.KindFor(schema.GroupVersionResource{Resource: "pods"})
	if err != nil || kind.Kind != "Pod" {
		t.Fatalf("%v %v", kind, err)
	}
	if _, err := m.RESTMapping(schema.GroupKind{Kind: "Nothing"}); err == nil {
		t.Fatal("an unknown kind was mapped")
	}
}

// A pod of 10,000 is found and copied without a look at the others.
func BenchmarkGet(b *testing.B) {
	back := clienttest.NewBackend(clienttest.Table())
	p := client.NewInProcess(back, clienttest.Scheme())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	if err := p.Create(context.Background(), pod); err != nil {
		b.Fatal(err)
	}
	var got corev1.Pod
	for b.Loop() {
		if err := p.Get(context.Background(), crclient.ObjectKeyFromObject(pod), &got); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAs: reads and informers are shared, writes are another backend's.
func TestAs(t *testing.T) {
	b, p := open(t)
	other := clienttest.NewBackend(clienttest.Table())
	i := p.As(other)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}}
	if err := p.As(b).Create(t.Context(), cm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	before := other.Writes()
	if err := i.Get(t.Context(), crclient.ObjectKeyFromObject(cm), cm); err != nil {
		t.Error(err)
	}
	if err := i.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "there"}}); err != nil {
		t.Error(err)
	}
	if other.Writes() != before+1 {
		t.Error("the write went elsewhere")
	}
	x, err1 := i.GetInformer(t.Context(), cm)
	y, err2 := p.GetInformer(t.Context(), cm)
	if err1 != nil || err2 != nil || x == nil || y == nil {
		t.Error(err1, err2)
	}
}
