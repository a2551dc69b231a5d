// Package apiserver is the HTTP API: authentication, authorization, decoding,
// admission, defaults, validation, storage, the cache that answers reads and
// watches, discovery, OpenAPI, and streams to nodes. It is the only user of the
// store. Server.InProcess gives the same API without HTTP (see client.Backend).
package apiserver

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"

	"skiff.dev/skiff/kinds"
)

// Nodes finds the API of a node, for log, exec, attach, portforward and proxy.
type Nodes interface {
	// Handler answers requests as the node's own API would ("/containerLogs/...",
	// "/exec/...": the kubelet's paths). A node in this process is called directly,
	// another one over TLS; both support hijacked and streamed answers.
	Handler(ctx context.Context, node string) (http.Handler, error)
}

// TokenIssuer answers TokenRequests; auth/token's Service does.
type TokenIssuer interface {
	// Request answers in for a service account, with a token in the status of a
	// copy. validate judges the request with its defaults. Errors are StatusErrors.
	Request(namespace, name string, in *authenticationv1.TokenRequest, validate func(*authenticationv1.TokenRequest) error) (out *authenticationv1.TokenRequest, warnings []string, err error)
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
