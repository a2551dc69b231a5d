package platform

import (
	"context"
	"crypto/x509"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	authnode "skiff.dev/skiff/auth/node"
	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/auth/token"
	"skiff.dev/skiff/kinds"
)

// issuer is the name of the cluster in service account tokens, and their audience.
const issuer = "https://kubernetes.default.svc"

// identity is who may do what in this cluster. The API server asks it on every
// request, and it looks at the API server's objects: they are joined by feeds when
// the server is made, and by reader once it exists.
type identity struct {
	tokens *token.Service
	known  authn.Tokens
	// accounts knows the tokens of service accounts; known all tokens.
	accounts *token.Authenticator
	rbac     *rbac.Index
	graph    *authnode.Graph
	who      auth.Authenticator
	may      auth.Authorizer
	reader   atomic.Pointer[admission.Reader]

	newcomers current
	judges    judges
	ctx       context.Context // ends with the process: issuers are looked for within it
	close     context.CancelFunc

	// clients and proxies are the authorities of client certificates and of front
	// proxies; callers is both, for the TLS handshake to name.
	clients, proxies, callers *x509.CertPool
	clientsPEM, proxiesPEM    []byte
}

func (p *process) newIdentity() (*identity, error) {
	id := &identity{rbac: rbac.New(), graph: authnode.NewGraph()}
	signer, err := token.NewIssuer(issuer, p.pki.TokenKey)
	if err != nil {
		return nil, err
	}
	audiences := []string{issuer}
	id.tokens = &token.Service{Issuer: signer, Audiences: audiences, Objects: id}
	id.accounts = token.NewAuthenticator(signer, audiences, id, nil)
	id.ctx, id.close = context.WithCancel(context.Background())
	if err := p.newAuthenticator(id); err != nil {
		id.close()
		return nil, err
	}
	if err := p.newAuthorizer(id); err != nil {
		id.close()
		return nil, err
	}
	return id, nil
}

// feeds keep the indexes in step with the objects that they are made of: a binding
// counts from the moment in which its creation is answered.
func (id *identity) feeds() []apiserver.Feed {
	return []apiserver.Feed{
		{
			Resources: []schema.GroupResource{
				{Group: "rbac.authorization.k8s.io", Resource: "roles"},
				{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
				{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"},
				{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
			},
			Apply: id.rbac.Apply,
		},
		{
			Resources: []schema.GroupResource{
				{Resource: "pods"},
				{Resource: "persistentvolumes"},
				{Group: "storage.k8s.io", Resource: "volumeattachments"},
				{Group: "resource.k8s.io", Resource: "resourceslices"},
			},
			Apply: id.graph.Apply,
		},
	}
}

// Object looks at the API server's cache, which is empty until the server exists.
func (id *identity) Object(gr schema.GroupResource, namespace, name string) (kinds.Object, bool) {
	r := id.reader.Load()
	if r == nil {
		return nil, false
	}
	return (*r).Object(gr, namespace, name)
}

// object finds an object that tokens are bound to.
func object[T kinds.Object](id *identity, resource, namespace, name string) (T, bool) {
	o, ok := id.Object(schema.GroupResource{Resource: resource}, namespace, name)
	if !ok {
		var none T
		return none, false
	}
	t, ok := o.(T)
	return t, ok
}

// ServiceAccount and the rest are what package token looks at.
func (id *identity) ServiceAccount(ns, name string) (*corev1.ServiceAccount, bool) {
	return object[*corev1.ServiceAccount](id, "serviceaccounts", ns, name)
}

func (id *identity) Pod(ns, name string) (*corev1.Pod, bool) {
	return object[*corev1.Pod](id, "pods", ns, name)
}

func (id *identity) Secret(ns, name string) (*corev1.Secret, bool) {
	return object[*corev1.Secret](id, "secrets", ns, name)
}

func (id *identity) Node(name string) (*corev1.Node, bool) {
	return object[*corev1.Node](id, "nodes", "", name)
}
