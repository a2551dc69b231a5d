package builds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// trace is the type of the messages that carry BuildKit's progress.
const traceType = "moby.buildkit.trace"

// trace builds what a client's session has, and answers with BuildKit's progress.
func (a *Area) trace(ctx context.Context, r *route.Request, p *params, out *route.Messages) error {
	if p.session == "" && (p.remote == "client-session" || p.remote == "") {
		return route.Invalidf("a build by BuildKit needs a session")
	}
	req, err := p.solveRequest()
	if err != nil {
		return err
	}
	control, done, err := a.o.Builder.Control(ctx)
	if err != nil {
		return err
	}
	defer done() //nolint:errcheck // a connection in this process
	told := make(chan error, 1)
	following, stop := context.WithCancel(ctx)
	defer stop()
	go func() { told <- follow(following, control, req.Ref, out) }()
	resp, err := control.Solve(ctx, req)
	if err != nil {
		stop()
		<-told
		return a.fail(ctx, out, plainError(err))
	}
	if err := <-told; err != nil {
		return a.fail(ctx, out, err)
	}
	id := resp.ExporterResponse[exptypes.ExporterImageDigestKey]
	if id == "" {
		return nil
	}
	a.tell(id, p.tags)
	if p.quiet {
		return out.Text(id + "\n")
	}
	return out.Aux("moby.image.id", map[string]string{"ID": id})
}

// fail ends an answer with an error; one that has not begun is a stream all the
// same, as clients of BuildKit expect.
func (a *Area) fail(ctx context.Context, out *route.Messages, err error) error {
	if ctx.Err() != nil {
		err = errors.New("Build cancelled") //lint:ignore ST1005 Docker's words
	}
	return sendError(out, 0, err.Error())
}

func (a *Area) tell(id string, tags []string) {
	for _, t := range tags {
		a.o.Built(id, t)
	}
}

// follow sends the progress of a build until it ends.
func follow(ctx context.Context, control controlapi.ControlClient, ref string, out *route.Messages) error {
	stream, err := control.Status(ctx, &controlapi.StatusRequest{Ref: ref})
	if err != nil {
		return err
	}
	for {
		s, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := s.MarshalVT()
		if err != nil {
			return err
		}
		// A slice of bytes is base64 in JSON, which is what clients read.
		if err := out.Aux(traceType, b); err != nil {
			return err
		}
	}
}

// solveRequest is BuildKit's request for the parameters.
func (p *params) solveRequest() (*controlapi.SolveRequest, error) {
	ref := p.id
	if ref == "" {
		ref = identity.NewID()
	}
	q := p.request
	q.Tags, q.Filename = p.tags, p.dockerfile
	if p.remote != "" && p.remote != "client-session" {
		q.Remote = p.remote
	}
	attrs, err := q.Attrs()
	if err != nil {
		return nil, route.Invalid(err)
	}
	req := &controlapi.SolveRequest{Ref: ref, Session: p.session, Frontend: "dockerfile.v0", FrontendAttrs: attrs, Cache: &controlapi.CacheOptions{}}
	for _, c := range q.CacheFrom {
		req.Cache.Imports = append(req.Cache.Imports, &controlapi.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": c}})
	}
	if v, ok := q.Args["BUILDKIT_INLINE_CACHE"]; ok && v == "1" {
		req.Cache.Exports = append(req.Cache.Exports, &controlapi.CacheOptionsEntry{Type: "inline"})
	}
	if q.Network == "host" {
		req.Entitlements = append(req.Entitlements, "network.host")
	}
	image := &controlapi.Exporter{Type: "moby", Attrs: map[string]string{}}
	switch {
	case len(p.outputs) > 1:
		return nil, route.Invalidf("multiple outputs not supported")
	case len(p.outputs) == 1 && p.outputs[0].Type != "moby" && p.outputs[0].Type != "image":
		req.Exporters = []*controlapi.Exporter{{Type: p.outputs[0].Type, Attrs: p.outputs[0].Attrs}}
		return req, nil
	case len(p.outputs) == 1 && p.outputs[0].Attrs != nil:
		image.Attrs = p.outputs[0].Attrs
	}
	if len(p.tags) > 0 {
		image.Attrs["name"] = strings.Join(p.tags, ",")
	}
	req.Exporters = []*controlapi.Exporter{image}
	return req, nil
}

func sendError(out *route.Messages, code int, text string) error {
	return out.Send(&failed{Detail: detail{code, text}, Error: text})
}

// failed is the last message of a build that went wrong.
type failed struct {
	Detail detail `json:"errorDetail"`
	Error  string `json:"error"`
}

type detail struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message"`
}

// plainError is the text of an error without gRPC's own words.
func plainError(err error) error {
	text := err.Error()
	if _, after, ok := strings.Cut(text, " desc = "); ok && strings.HasPrefix(text, "rpc error:") {
		text = after
	}
	return fmt.Errorf("%s", text)
}
