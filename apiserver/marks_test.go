package apiserver

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/telemetry"
)

// TestMarks holds that the marks of entries hide none that a selector selects.
func TestMarks(t *testing.T) {
	s := mem.New()
	defer s.Close()
	k := &kinds.Kind{Version: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespaced: true, New: func() kinds.Object { return &corev1.ConfigMap{} }}
	for i := range 500 {
		obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), Namespace: "n", Labels: map[string]string{
			"app": fmt.Sprint(i % 7), "part": fmt.Sprint(i % 50), fmt.Sprint("k", i%9): ""}}}
		if i%4 == 0 {
			obj.Namespace = "o"
		}
		b, err := codec.EncodeStored(k, obj)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: "/registry/core/configmaps/" + obj.Namespace + "/" + obj.Name, Value: b}}}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := cache.New(context.Background(), s, []*kinds.Kind{k}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"app=3", "app==3,part=10", "app in (3)", "app in (3,4)", "app!=3", "app notin (3)", "k1", "!k1", "k1=", "part=7,k1", "app=3,app=4", "app=none"} {
		sel, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		selected, err := newSelection(k, nil, sel, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Of(k).Snapshot().Ascend("", "", func(e *cache.Entry) bool {
			if want := sel.Matches(labels.Set(e.Object.GetLabels())); selected.selects(e) != want {
				t.Errorf("%s: object %s is selected: %v", text, e.Key, !want)
			}
			return true
		})
		want, got := 0, 0
		c.Of(k).Snapshot().Ascend("n", "", func(e *cache.Entry) bool {
			if sel.Matches(labels.Set(e.Object.GetLabels())) {
				want++
			}
			return true
		})
		c.Of(k).Snapshot().AscendMarked("n", "", selected.marks, func(e *cache.Entry) bool {
			if e.Object.GetNamespace() != "n" {
				t.Errorf("%s: object %s is of another namespace", text, e.Key)
			}
			if selected.selects(e) {
				got++
			}
			return true
		})
		if got != want {
			t.Errorf("%s: %d of %d objects", text, got, want)
		}
	}
}
