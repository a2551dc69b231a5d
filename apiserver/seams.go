// Package apiserver is the HTTP API: authentication, authorization, decoding,
// admission, defaults, validation, storage, the cache that answers reads and
// watches, discovery, OpenAPI, and streams to nodes. It is the only user of the
// store. Server.InProcess gives the same API without HTTP (see client.Backend).
package apiserver

import (
	"context"
	"net/http"
)

// Nodes finds the API of a node, for log, exec, attach, portforward and proxy.
type Nodes interface {
	// Handler answers requests as the node's own API would ("/containerLogs/...",
	// "/exec/...": the kubelet's paths). A node in this process is called directly,
	// another one over TLS; both support hijacked and streamed answers.
	Handler(ctx context.Context, node string) (http.Handler, error)
}
