package build

import (
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
)

// TestBaseImagesAreLocal: a client that does not say from where base images come gets
// those of the store.
func TestBaseImagesAreLocal(t *testing.T) {
	for _, c := range []*struct {
		solve controlapi.SolveRequest
		want  string
	}{
		{controlapi.SolveRequest{Frontend: "dockerfile.v0"}, "local"},
		{controlapi.SolveRequest{Frontend: "gateway.v0", FrontendAttrs: map[string]string{"source": "docker/dockerfile:1"}}, "local"},
		{controlapi.SolveRequest{Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"image-resolve-mode": "pull"}}, "pull"},
		{controlapi.SolveRequest{}, ""}, // a definition has its own
	} {
		preferLocal(&c.solve)
		if got := c.solve.FrontendAttrs["image-resolve-mode"]; got != c.want {
			t.Errorf("%q: %q, want %q", c.solve.Frontend, got, c.want)
		}
	}
}
