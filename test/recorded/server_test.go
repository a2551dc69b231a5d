package recorded_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/intercept"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/apiserver/stream"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	authnode "skiff.dev/skiff/auth/node"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/auth/token"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/telemetry"
)

const issuer = "https://kubernetes.default.svc"

// admin authenticates requests without credentials as an administrator.
type admin struct{}

func (admin) Authenticate(*http.Request) (*auth.User, bool, error) {
	return &auth.User{Name: "admin", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}, true, nil
}

// late reads the server's cache once there is a server.
type late struct {
	p atomic.Pointer[admission.Reader]
}

func (l *late) Object(gr schema.GroupResource, namespace, name string) (kinds.Object, bool) {
	r := l.p.Load()
	if r == nil {
		return nil, false
	}
	return (*r).Object(gr, namespace, name)
}

func (l *late) Each(gr schema.GroupResource, namespace string, f func(kinds.Object) bool) {
	if r := l.p.Load(); r != nil {
		(*r).Each(gr, namespace, f)
	}
}

func object[T kinds.Object](l *late, resource, namespace, name string) (T, bool) {
	o, ok := l.Object(schema.GroupResource{Resource: resource}, namespace, name)
	t, is := o.(T)
	return t, ok && is
}

func (l *late) ServiceAccount(ns, name string) (*corev1.ServiceAccount, bool) {
	return object[*corev1.ServiceAccount](l, "serviceaccounts", ns, name)
}

func (l *late) Pod(ns, name string) (*corev1.Pod, bool) {
	return object[*corev1.Pod](l, "pods", ns, name)
}

func (l *late) Secret(ns, name string) (*corev1.Secret, bool) {
	return object[*corev1.Secret](l, "secrets", ns, name)
}

func (l *late) Node(name string) (*corev1.Node, bool) {
	return object[*corev1.Node](l, "nodes", "", name)
}

// noNodes is a cluster without nodes.
type noNodes struct{}

func (noNodes) Handler(_ context.Context, node string) (http.Handler, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, node)
}

// newServer is a whole API server over a store in memory: all kinds, admission,
// RBAC with the bootstrap policy, tokens, discovery and OpenAPI.
func newServer(t testing.TB) *httptest.Server {
	t.Helper()
	ctx := context.Background()
	s := mem.New()
	look := &late{}
	index := rbac.New()
	graph := authnode.NewGraph()
	may := auth.Chain{auth.Masters{}, authnode.New(graph, policy.NodeRules()), index}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewIssuer(issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	audiences := []string{issuer}
	known := token.NewAuthenticator(signer, audiences, look, nil)
	table := all.Table()
	docs := discovery.New(discovery.Options{Table: table, HideOld: true, ServerAddress: "127.0.0.1:6443"})
	apis := openapi.New(openapi.Options{Table: table, HideOld: true, Version: "v1.36.3"})
	config, keys, err := signer.Discovery("https://127.0.0.1:6443" + token.KeysPath)
	if err != nil {
		t.Fatal(err)
	}
	streams := &stream.Streams{Nodes: noNodes{}, Reader: look, Authorizer: may}
	var rbacKinds []schema.GroupResource
	for _, r := range []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
		rbacKinds = append(rbacKinds, schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: r})
	}
	clients := callout.New(callout.Endpoints{Reader: func() admission.Reader { return look }}, nil)
	judges, err := intercept.New(intercept.Options{Clients: clients, Authorizer: may, Telemetry: telemetry.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := apiserver.New(ctx, apiserver.Options{
		Store: s, Table: table, Scheme: scheme.New(),
		Authenticator: authn.Union{authn.Bearer{Tokens: known}, admin{}},
		Authorizer:    may,
		Admission:     slices.Concat(admit.Default(admit.Options{Rules: index, Authorizer: may}), judges.Chain(), admission.Chain{&admit.ResourceQuota{}}),
		Feeds: []apiserver.Feed{
			{Resources: judges.Resources(), Apply: judges.Apply},
			{Resources: rbacKinds, Apply: index.Apply},
			{Resources: []schema.GroupResource{{Resource: "pods"}, {Resource: "persistentvolumes"}}, Apply: graph.Apply},
		},
		Advertise:   netip.MustParseAddrPort("192.0.2.1:6443"),
		TokenIssuer: &token.Service{Issuer: signer, Audiences: audiences, Objects: look},
		Tokens:      known, Audiences: audiences, Rules: index,
		Subresources: map[string]apiserver.SubresourceHandler{
			"log": streams.Serve, "exec": streams.Serve, "attach": streams.Serve, "portforward": streams.Serve, "proxy": streams.Serve,
		},
		Discovery: docs, OpenAPI: apis,
		Paths: []apiserver.PathHandler{
			{Path: "/api", Handler: docs}, {Path: "/api/", Handler: docs}, {Path: "/apis", Handler: docs}, {Path: "/apis/", Handler: docs},
			{Path: "/openapi/", Handler: apis}, {Path: token.ConfigPath, Handler: config}, {Path: token.KeysPath, Handler: keys},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	reader := srv.Reader()
	look.p.Store(&reader)
	b := srv.InProcess(&auth.User{Name: "system:apiserver", Groups: []string{auth.GroupMasters}})
	for _, obj := range policy.Default().Objects() {
		gvks, _, err := scheme.New().ObjectKinds(obj)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := b.Kind(gvks[0])
		if _, err := b.Create(ctx, k, obj, nil); err != nil {
			t.Fatal(err)
		}
	}
	h := httptest.NewServer(srv.Handler())
	t.Cleanup(func() {
		h.Close()
		srv.Close()
		s.Close()
	})
	return h
}
