// Package builds is the area of the Docker API that builds images: /build with the
// output of Docker's classic builder (version 1, what clients without BuildKit
// send) or BuildKit's trace (version 2), and BuildKit's own protocol in hijacked
// connections (/session, /grpc). engine/build does the building.
//
// The classic builder's output is written from BuildKit's progress: each
// instruction is a step, printed in the order of the Dockerfile. What its reading
// of a Dockerfile refuses, or cannot do without BuildKit's clients, is refused as
// Docker refuses it. Its intermediate images do not exist: their ids only tell
// steps apart.
package builds

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Builder builds (engine/build.Builder).
type Builder interface {
	Build(context.Context, build.Request, func(*client.SolveStatus)) (build.Result, error)
	Control(context.Context) (_ controlapi.ControlClient, done func() error, err error)
	ServeGRPC(context.Context, net.Conn) error
	ServeSession(context.Context, net.Conn, http.Header) error
	Prune(context.Context, client.PruneInfo) ([]client.UsageInfo, error)
	DiskUsage(context.Context) ([]*client.UsageInfo, error)
	// NewContext makes an empty directory for a client's files.
	NewContext() (dir string, drop func() error, err error)
}

// Images finds and names images (engine/imagestore.Store).
type Images interface {
	Resolve(ctx context.Context, ref string) (images.Image, error)
	Adopt(ctx context.Context, target imagespec.Descriptor, top string, names []string) error
}

// Options of New.
type Options struct {
	Builder Builder
	Images  Images
	// Built is told of each image that got a name; nil tells nobody.
	Built func(id, name string)
	Log   *slog.Logger
}

// Area implements dockerapi.Area.
type Area struct {
	o Options

	mu      sync.Mutex
	running map[string]context.CancelFunc
}

// New returns the area.
func New(o Options) *Area {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Built == nil {
		o.Built = func(string, string) {}
	}
	return &Area{o: o, running: map[string]context.CancelFunc{}}
}

// Routes implements dockerapi.Area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Post("/build", a.build),
		route.Post("/build/prune", a.prune).From("1.31"),
		route.Post("/build/cancel", a.cancel),
		route.Post("/session", a.session),
		route.Post("/grpc", a.grpc),
	}
}

func (a *Area) build(w http.ResponseWriter, r *route.Request) error {
	p, err := readParams(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if p.id != "" {
		a.mu.Lock()
		a.running[p.id] = cancel
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			delete(a.running, p.id)
			a.mu.Unlock()
		}()
	}
	out := route.NewMessages(w)
	if p.buildkit {
		return a.trace(ctx, r, p, out)
	}
	return a.classic(ctx, r, p, out)
}

func (a *Area) cancel(w http.ResponseWriter, r *route.Request) error {
	id := r.Form.Get("id")
	if id == "" {
		return route.Invalidf("build ID not provided")
	}
	a.mu.Lock()
	cancel := a.running[id]
	a.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	return nil
}

// pruned is what /build/prune answers.
type pruned struct {
	CachesDeleted  []string
	SpaceReclaimed uint64
}

func (a *Area) prune(w http.ResponseWriter, r *route.Request) error {
	what, err := pruneInfo(r)
	if err != nil {
		return err
	}
	gone, err := a.o.Builder.Prune(r.Context(), what)
	if err != nil {
		return err
	}
	var out pruned
	for _, u := range gone {
		out.CachesDeleted = append(out.CachesDeleted, u.ID)
		out.SpaceReclaimed += uint64(u.Size)
	}
	return route.WriteJSON(w, http.StatusOK, &out)
}

// pruneInfo reads which records are to go.
func pruneInfo(r *route.Request) (client.PruneInfo, error) {
	var p client.PruneInfo
	args, err := filters.Of(r)
	if err != nil {
		return p, err
	}
	for _, s := range []struct {
		key string
		to  *int64
	}{{"keep-storage", &p.ReservedSpace}, {"reserved-space", &p.ReservedSpace}, {"max-used-space", &p.MaxUsedSpace}, {"min-free-space", &p.MinFreeSpace}} {
		text := r.Form.Get(s.key)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return p, route.Invalidf("%s is in bytes and expects an integer, got %s: %w", s.key, text, err)
		}
		*s.to = int64(n)
	}
	p.All = r.Bool("all")
	wrap := func(err error) error { return route.Invalidf("failed to prune build cache: %w", err) }
	if err := args.Check("until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private"); err != nil {
		return p, wrap(err)
	}
	until := args["until"]
	if len(until) == 0 {
		until = args["unused-for"]
	}
	switch {
	case len(until) > 1:
		return p, route.Invalidf("failed to prune build cache: filter expected only one value")
	case len(until) == 1:
		if p.KeepDuration, err = keepFor(until[0], time.Now()); err != nil {
			return p, wrap(err)
		}
	}
	for _, key := range []string{"id", "parent", "type", "description", "inuse", "shared", "private"} {
		values := args[key]
		switch {
		case len(values) == 0:
		case len(values) > 1:
			return p, route.Invalidf("failed to prune build cache: filter expected only one value")
		case key == "id":
			p.Filter = append(p.Filter, key+"~="+values[0])
		case key == "inuse" || key == "shared" || key == "private":
			p.Filter = append(p.Filter, key)
		default:
			p.Filter = append(p.Filter, key+"=="+values[0])
		}
	}
	return p, nil
}

// session hands a client's session over.
func (a *Area) session(w http.ResponseWriter, r *route.Request) error {
	if r.Header.Get("Upgrade") == "" {
		return route.Invalidf("no upgrade proto in request")
	}
	conn, err := upgrade(w, r, route.Invalid)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := a.o.Builder.ServeSession(r.Context(), conn, r.Header); err != nil {
		return err
	}
	return nil
}

// grpc speaks BuildKit's control protocol.
func (a *Area) grpc(w http.ResponseWriter, r *route.Request) error {
	conn, err := upgrade(w, r, route.Internal)
	if err != nil {
		return err
	}
	defer conn.Close()
	return a.o.Builder.ServeGRPC(context.WithoutCancel(r.Context()), conn)
}

// upgrade turns the connection into one of HTTP/2; refuse gives a wrong request its
// status.
func upgrade(w http.ResponseWriter, r *route.Request, refuse func(error) error) (net.Conn, error) {
	proto := r.Header.Get("Upgrade")
	switch proto {
	case "":
		return nil, refuse(errors.New("no upgrade proto in request"))
	case "h2c":
	default:
		return nil, refuse(errors.New("protocol " + proto + " not supported"))
	}
	h, ok := w.(http.Hijacker)
	if !ok {
		return nil, route.Internalf("the connection cannot be taken over")
	}
	c, rw, err := h.Hijack()
	if err != nil {
		return nil, route.Internal(err)
	}
	if _, err := c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + proto + "\r\n\r\n")); err != nil {
		c.Close()
		return nil, err
	}
	return &buffered{c, rw.Reader}, nil
}
