package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

// forgetful is a store whose watches do not carry the writers' objects, as when the
// cache has fallen behind the newest events, or another store's.
type forgetful struct{ store.Store }

func (f forgetful) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	inner, err := f.Store.Watch(ctx, w)
	return forgetfulWatcher{inner}, err
}

type forgetfulWatcher struct{ store.Watcher }

func (f forgetfulWatcher) Next(ctx context.Context) (store.Batch, error) {
	b, err := f.Watcher.Next(ctx)
	events := append([]store.Event(nil), b.Events...)
	for i := range events {
		events[i].Decoded = nil
	}
	b.Events = events
	return b, err
}

// TestAnswerOfAWriteThatCameBackDecoded: an answer has its revision also where the
// cache did not take the writer's own object, in small kinds and in large ones,
// whose objects share memory.
func TestAnswerOfAWriteThatCameBackDecoded(t *testing.T) {
	s := mem.New()
	// Without priority and fairness nobody else writes.
	srv, err := apiserver.New(context.Background(), apiserver.Options{Store: forgetful{s}, Table: all.Table(), Scheme: scheme.New(), NoPriority: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(); s.Close() })
	for i := range 1100 {
		r := httptest.NewRequest("POST", "/api/v1/namespaces/default/configmaps", strings.NewReader(fmt.Sprintf(`{"metadata":{"name":"c%04d"}}`, i)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		var cm corev1.ConfigMap
		if err := json.Unmarshal(w.Body.Bytes(), &cm); err != nil {
			t.Fatal(err)
		}
		res, rerr := s.Range(context.Background(), store.Range{Start: "/registry/core/configmaps/default/" + cm.Name})
		if rerr != nil || len(res.KVs) != 1 || w.Code != 201 || cm.ResourceVersion != fmt.Sprint(res.KVs[0].ModRevision) {
			t.Fatalf("object %d: %d, revision %q, stored %+v: %v", i, w.Code, cm.ResourceVersion, res.KVs, rerr)
		}
	}
}
