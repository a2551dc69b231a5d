package platform

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/cli/localapi"
)

func engineRoot(c *Config) string { return filepath.Join(c.Data, "engine") }

// Handler is how the API server reaches a node's own API: this process's node is
// called directly.
func (p *process) Handler(_ context.Context, name string) (http.Handler, error) {
	if name != p.cfg.NodeName || p.node == nil {
		return nil, fmt.Errorf("node %s is not part of this process", name)
	}
	return p.node.Handler(), nil
}
