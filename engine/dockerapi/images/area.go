// Package images is the area of the Docker Engine API about images: /images,
// /distribution and /commit. An image's identity is the digest of its manifest or
// index, as with Docker's containerd image store. What to do is decided here by
// pure functions over the store's records; engine/imagestore does it.
package images

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Store is what this area needs of the image store.
type Store interface {
	engine.Catalog
	engine.Archives
	engine.Registries
}

// Users lists the containers of the machine: what they use is never taken away.
type Users interface {
	List(ctx context.Context, want map[string]string) ([]*engine.Container, error)
}

// Containers is the part of the containers' area that commits and prunes need.
type Containers interface {
	// Source finds a container by name or id. What is not there is an error of kind
	// not found.
	Source(ctx context.Context, name string) (*Source, error)
	// References are what each container's creator called its image, by the
	// container's id.
	References(ctx context.Context) map[string]string
}

// Source is a container of which an image is made.
type Source struct {
	ID, Name string
	Config   *container.Config
	Image    *imagespec.Descriptor // nil: made of nothing
	Labels   map[string]string
	Running  bool
	// Pause stops its processes until resume is called.
	Pause func(ctx context.Context) (resume func(), err error)
	// Layer is what it has changed, as a layer's tar; nil where that is nothing.
	Layer func(ctx context.Context) (io.ReadCloser, error)
}

// Options of New.
type Options struct {
	Store      Store
	Users      Users
	Containers Containers // nil: there are none of this API's
	Events     *event.Hub
	// Search is how a registry's index is asked.
	Search Searcher
}

// Area implements dockerapi.Area.
type Area struct {
	o       Options
	pruning atomic.Bool
}

// New makes the area.
func New(o Options) *Area { return &Area{o: o} }

// Routes implements dockerapi.Area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Get("/images/json", a.list),
		route.Get("/images/search", a.search),
		route.Get("/images/get", a.save),
		route.Get("/images/{name}/get", a.save),
		route.Get("/images/{name}/history", a.history),
		route.Get("/images/{name}/attestations", a.attestations).From("1.56"),
		route.Get("/images/{name}/json", a.inspect),
		route.Post("/images/load", a.load),
		route.Post("/images/create", a.create),
		route.Post("/images/{name}/push", a.push),
		route.Post("/images/{name}/tag", a.tag),
		route.Post("/images/prune", a.prune).From("1.25"),
		route.Delete("/images/{name}", a.remove),
		route.Get("/distribution/{name}/json", a.distribution).From("1.30"),
		route.Post("/commit", a.commit),
	}
}

// tell publishes an event of an image; labels may be nil.
func (a *Area) tell(action events.Action, id, name string, labels map[string]string) {
	attributes := map[string]string{}
	for k, v := range labels {
		attributes[k] = v
	}
	if name != "" {
		attributes["name"] = name
	}
	a.o.Events.Publish(events.ImageEventType, action, id, attributes)
}
