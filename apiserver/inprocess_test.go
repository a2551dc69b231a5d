package apiserver_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

var (
	_ client.Backend    = (*apiserver.Backend)(nil)
	_ client.KindLister = (*apiserver.Backend)(nil)
)

func newServer(t testing.TB, s store.Store) *apiserver.Server {
	t.Helper()
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: kinds.NewTable(core.Kinds()), Scheme: clientscheme.Scheme,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv
}

func kind(t testing.TB, b *apiserver.Backend, name string) *kinds.Kind {
	t.Helper()
	k, ok := b.Kind(schema.GroupVersionKind{Version: "v1", Kind: name})
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return k
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"name": name}}, Data: map[string]string{}}
	for i := 0; i+1 < len(data); i += 2 {
		m.Data[data[i]] = data[i+1]
	}
	return m
}

func TestInProcess(t *testing.T) {
	ctx := context.Background()
	s := mem.New()
	defer s.Close()
	b := newServer(t, s).InProcess(&auth.User{Name: "tester"})
	k := kind(t, b, "ConfigMap")

	made, err := b.Create(ctx, k, configMap("a", "x", "1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.GetUID() == "" || made.GetResourceVersion() == "" || made.GetCreationTimestamp().Time.IsZero() {
		t.Errorf("the created object lacks its identity: %+v", made)
	}
	if f := made.GetManagedFields(); len(f) != 1 || f[0].Manager != "tester" || f[0].Operation != "Update" {
		t.Errorf("managed fields: %+v", f)
	}
	if named, err := b.Named("kubelet/v1").Create(ctx, k, configMap("named", "x", "1"), nil); err != nil || named.GetManagedFields()[0].Manager != "kubelet" {
		t.Errorf("another name: %v, %+v", err, named)
	}
	if _, err := b.Create(ctx, k, configMap("a"), nil); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: %v", err)
	}
	_, rev, err := b.List(ctx, k, "default", labels.SelectorFromSet(labels.Set{"name": "a"}))
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Watch(ctx, k, "default", rev)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := b.Patch(ctx, k, "default", "a", "", types.MergePatchType, []byte(`{"data":{"x":"2"}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	stale := made.DeepCopyObject().(*corev1.ConfigMap)
	stale.Data["x"] = "3"
	if _, err := b.Update(ctx, k, "", stale, nil); !apierrors.IsConflict(err) {
		t.Errorf("stale update: %v", err)
	}
	applied, err := b.Patch(ctx, k, "default", "b", "", types.ApplyPatchType,
		[]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"},"data":{"k":"v"}}`), &metav1.PatchOptions{FieldManager: "applier"})
	if err != nil {
		t.Fatal(err)
	}
	if applied.(*corev1.ConfigMap).Data["k"] != "v" {
		t.Errorf("applied: %+v", applied)
	}
	if err := b.Delete(ctx, k, "default", "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, k, "default", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("get after delete: %v", err)
	}
	var seen []kinds.Event
	for len(seen) < 3 {
		evs, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, evs...)
	}
	if seen[0].New != patched || seen[1].Old != nil || seen[2].New != nil || seen[2].Old.GetResourceVersion() == patched.GetResourceVersion() {
		t.Errorf("events: %+v", seen)
	}
}

// TestRestart holds that a server finds everything again.
func TestRestart(t *testing.T) {
	ctx := context.Background()
	s := mem.New()
	first := newServer(t, s)
	b := first.InProcess(nil)
	k := kind(t, b, "ConfigMap")
	made, err := b.Create(ctx, k, configMap("kept", "x", "1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	again := s.Reopen()
	defer again.Close()
	b = newServer(t, again).InProcess(nil)
	got, err := b.Get(ctx, kind(t, b, "ConfigMap"), "default", "kept")
	if err != nil {
		t.Fatal(err)
	}
	if got.GetUID() != made.GetUID() || got.GetResourceVersion() != made.GetResourceVersion() || len(got.GetManagedFields()) != 1 {
		t.Errorf("found %+v, want %+v", got, made)
	}
}

// TestConcurrentPatches holds that patches without a resourceVersion are repeated
// until each has had its effect.
func TestConcurrentPatches(t *testing.T) {
	ctx := context.Background()
	s := mem.New()
	defer s.Close()
	b := newServer(t, s).InProcess(nil)
	k := kind(t, b, "ConfigMap")
	if _, err := b.Create(ctx, k, configMap("m"), nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			patch := fmt.Sprintf(`{"data":{"k%d":"v"}}`, i)
			if _, err := b.Patch(ctx, k, "default", "m", "", types.MergePatchType, []byte(patch), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := b.Get(ctx, k, "default", "m")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.(*corev1.ConfigMap).Data); n != 20 {
		t.Errorf("%d of 20 patches took effect", n)
	}
}
