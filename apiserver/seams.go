// Package apiserver is the HTTP API: authentication, authorization, decoding,
// admission, defaults, validation, storage, the cache that answers reads and
// watches, discovery, OpenAPI, and streams to nodes. It is the only user of the
// store. Server.InProcess gives the same API without HTTP (see client.Backend).
package apiserver

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Nodes finds the API of a node, for log, exec, attach, portforward and proxy.
type Nodes interface {
	// Handler answers requests as the node's own API would ("/containerLogs/...",
	// "/exec/...": the kubelet's paths). A node in this process is called directly,
	// another one over TLS; both support hijacked and streamed answers.
	Handler(ctx context.Context, node string) (http.Handler, error)
}

// TokenIssuer signs service account tokens.
type TokenIssuer interface {
	// IssueToken returns req with its status filled in: a token for sa, bound to the
	// object that req.Spec.BoundObjectRef names (bound is that object, already
	// found; nil if none is asked for).
	IssueToken(ctx context.Context, sa *corev1.ServiceAccount, bound kinds.Object, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// TokenReviewer tells who a token is.
type TokenReviewer interface {
	// ReviewToken answers a TokenReview. audiences are those the caller accepts;
	// the ones that the token has in common with them are returned. An error means
	// that the token is invalid; ok is false if it is unknown.
	ReviewToken(ctx context.Context, token string, audiences []string) (u *auth.User, found []string, ok bool, err error)
}

// RuleLister tells what a user may do in a namespace, for SelfSubjectRulesReview.
type RuleLister interface {
	RulesFor(ctx context.Context, u *auth.User, namespace string) (resources []authorizationv1.ResourceRule, paths []authorizationv1.NonResourceRule, incomplete bool, err error)
}

// SubresourceHandler answers a subresource that is a stream or a proxy: log,
// exec, attach, portforward, proxy. The request is authenticated, authorized and
// admitted; object is nil where the parent does not exist in the cache.
type SubresourceHandler func(w http.ResponseWriter, r *http.Request, kind *kinds.Kind, object kinds.Object, sub string)

// PathHandler answers one non-resource path or, with a trailing slash, a tree of
// them: discovery, OpenAPI.
type PathHandler struct {
	Path    string
	Handler http.Handler
}
