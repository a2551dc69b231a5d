package build

import (
	"context"
	"maps"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
)

// syntaxFrontend answers for gateway.v0, to which a line "# syntax=" leads. Docker's
// own Dockerfile frontend is the one built in, unless an image of the name is in the
// store: nobody wants a registry asked to read a Dockerfile that can be read here.
type syntaxFrontend struct {
	gateway, builtin frontend.Frontend
	store            Store
}

func (f *syntaxFrontend) Solve(ctx context.Context, llb frontend.FrontendLLBBridge, exec executor.Executor, opt map[string]string, inputs map[string]*pb.Definition, sid string, sm *session.Manager) (*frontend.Result, error) {
	source := opt["source"]
	if _, asked := opt["cmdline"]; !asked || !isDockerfileFrontend(source) {
		return f.gateway.Solve(ctx, llb, exec, opt, inputs, sid, sm)
	}
	if _, err := f.store.Resolve(ctx, source); err == nil {
		return f.gateway.Solve(ctx, llb, exec, opt, inputs, sid, sm)
	}
	opt = maps.Clone(opt)
	delete(opt, "source") // "cmdline" stays: it keeps the line from being followed again
	return f.builtin.Solve(ctx, llb, exec, opt, inputs, sid, sm)
}

// isDockerfileFrontend tells whether an image is docker/dockerfile, of any version.
func isDockerfileFrontend(name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	switch ref.Name() {
	case "docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream":
		return true
	}
	return false
}
