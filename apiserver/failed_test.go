package apiserver_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/mem"
)

// failed is a store whose disk has failed to sync.
type failed struct {
	store.Store
	err error
}

func (f *failed) Failure() error { return f.err }

func (f *failed) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Store.Commit(ctx, txn)
}

// TestStoreThatFailed: the health checks tell of a store that takes no writes, and
// who writes is told why; reads go on.
func TestStoreThatFailed(t *testing.T) {
	s := &failed{Store: mem.New()}
	srv, err := apiserver.New(context.Background(), apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(); s.Close() })
	ask := func(method, path, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const maps = "/api/v1/namespaces/default/configmaps"
	if code, body := ask("GET", "/readyz", ""); code != 200 {
		t.Fatalf("before: %d %s", code, body)
	}
	s.err = fmt.Errorf("%w: %w", store.ErrReadOnly, syscall.EIO)
	if code, body := ask("GET", "/readyz", ""); code != 500 || !strings.Contains(body, "[-]etcd failed") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := ask("POST", maps, `{"metadata":{"name":"a"}}`); code != 500 || !strings.Contains(body, "read-only since the disk failed to sync") || !strings.Contains(body, "input/output error") {
		t.Errorf("a write: %d %s", code, body)
	}
	if code, body := ask("GET", maps, ""); code != 200 {
		t.Errorf("a read: %d %s", code, body)
	}
}
