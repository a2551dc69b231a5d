package platform

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"skiff.dev/skiff/auth"
)

// Handler is how the API server reaches a node's own API: this process's node is
// called directly.
func (p *process) Handler(_ context.Context, name string) (http.Handler, error) {
	if name != p.cfg.NodeName || p.node == nil {
		return nil, fmt.Errorf("node %s is not part of this process", name)
	}
	return p.node.Handler(), nil
}

// authorized lets those use the node's own API over the network whom the cluster
// allows it, as the kubelet does with its webhook mode (pkg/kubelet/server/auth.go
// of Kubernetes): the node's subresources stats, metrics, log, pods, healthz and
// configz, and proxy for everything else.
func (p *process) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, ok, err := p.identity.who.Authenticate(r)
		if err != nil || !ok {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
		if verb == "" {
			verb = "get"
		}
		sub := nodeSubresource(r.URL.Path)
		a := &auth.Attributes{User: u, Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: p.cfg.NodeName, Path: r.URL.Path, IsResource: true}
		decision, _, err := p.identity.may.Authorize(r.Context(), a)
		if err != nil || decision != auth.Allow {
			msg := fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s])", u.Name, verb, sub)
			http.Error(w, msg, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func nodeSubresource(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "stats", "metrics", "pods", "healthz", "configz":
		return first
	case "logs":
		return "log"
	case "runningpods":
		return "pods"
	default:
		return "proxy"
	}
}
