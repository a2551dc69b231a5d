package client_test

import (
	"context"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/client"
	"skiff.dev/skiff/client/clienttest"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

func serve(t *testing.T) (*apiserver.Server, *client.InProcess) {
	t.Helper()
	s := mem.New()
	t.Cleanup(func() { s.Close() })
	table := all.Table()
	groups := discovery.New(discovery.Options{Table: table})
	var paths []apiserver.PathHandler
	for _, p := range []string{"/api", "/apis", "/api/", "/apis/"} {
		paths = append(paths, apiserver.PathHandler{Path: p, Handler: groups})
	}
	srv, err := apiserver.New(t.Context(), apiserver.Options{Store: s, Table: table, Scheme: scheme.New(), Paths: paths, Discovery: groups})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	p := client.NewInProcess(srv.InProcess(&auth.User{Name: "suite", Groups: []string{auth.GroupMasters}}), clienttest.Scheme())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if err := p.Create(context.Background(), ns); crclient.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	return srv, p
}

// The suite against the real server in this process.
func TestInProcessOfServer(t *testing.T) {
	clienttest.Run(t, func(t *testing.T) clienttest.Pair {
		_, p := serve(t)
		return clienttest.Pair{Client: p, Cache: p}
	})
}

// The same over HTTP.
func TestRemote(t *testing.T) {
	clienttest.Run(t, func(t *testing.T) clienttest.Pair {
		srv, _ := serve(t)
		h := httptest.NewServer(srv.Handler())
		t.Cleanup(h.Close)
		r, err := client.NewRemote(&rest.Config{Host: h.URL}, clienttest.Scheme())
		if err != nil {
			t.Fatal(err)
		}
		return clienttest.Pair{Client: r.Client, Cache: r.Cache}
	})
}
