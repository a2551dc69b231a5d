// Package system is the area of the Docker Engine API that is about the engine as a
// whole: ping, version, info, disk usage, events and logins. What it tells of other
// areas it asks them through small interfaces; what it tells of the machine is in
// machine.go.
package system

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/volume"

	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Counts of containers by what they do.
type Counts struct{ Running, Paused, Stopped int }

// Containers is what this area asks of the area of containers. Disk usage counts
// all of them; items asks for the containers themselves too.
type Containers interface {
	Counts(ctx context.Context) (Counts, error)
	Usage(ctx context.Context, items bool) (*container.DiskUsage, error)
}

// Images is what it asks of the area of images.
type Images interface {
	Count(ctx context.Context) (int, error)
	Usage(ctx context.Context, items bool) (*image.DiskUsage, error)
}

// Volumes is what it asks of the area of volumes.
type Volumes interface {
	Usage(ctx context.Context, items bool) (*volume.DiskUsage, error)
}

// Builds is what it asks of the area of builds.
type Builds interface {
	Usage(ctx context.Context, items bool) (*build.DiskUsage, error)
}

// Registries tells how registries are reached.
type Registries interface {
	Config() *registry.ServiceConfig
	// Login tries credentials and returns the token that stands for them, if the
	// registry gives one.
	Login(ctx context.Context, auth *registry.AuthConfig) (token string, err error)
}

// Options of New. Areas that are nil have nothing.
type Options struct {
	Version string
	Root    string // where Docker's things are: volumes, containers, the engine's identity
	Events  *event.Hub
	Log     *slog.Logger

	Containers Containers
	Images     Images
	Volumes    Volumes
	Builds     Builds
	Registries Registries

	// Runtime is the name of the OCI runtime in the API, RuntimePath its program,
	// RuntimeVersion the first line that it prints of itself.
	Runtime, RuntimePath, RuntimeVersion string
	NetworkDrivers, LogDrivers           []string
	Firewall                             string
	CgroupVersion                        int
}

// Area is the area of the system.
type Area struct {
	o       Options
	id      string
	runtime func() runtimeFacts
}

// New makes it, and the engine's identity if there is none yet.
func New(o Options) (*Area, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	id, err := identity(o.Root)
	if err != nil {
		return nil, err
	}
	a := &Area{o: o, id: id}
	a.runtime = sync.OnceValue(a.askRuntime)
	return a, nil
}

// Routes are the endpoints of the area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Get("/_ping", ping),
		route.Head("/_ping", ping),
		route.Get("/version", a.version),
		route.Get("/info", a.info),
		route.Get("/system/df", a.diskUsage),
		route.Get("/events", a.events),
		route.Post("/auth", a.login),
		route.Get("/containers/{name}/checkpoints", experimental),
		route.Post("/containers/{name}/checkpoints", experimental),
		route.Delete("/containers/{name}/checkpoints/*", experimental),
	}
}

type words string

func (w words) Error() string { return string(w) }

const errExperimental words = "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it."

// buildKit is the builder that clients should use.
const buildKit = "2"

func ping(w http.ResponseWriter, r *route.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", buildKit)
	h.Set("Swarm", "inactive")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := w.Write([]byte("OK"))
	return err
}

// experimental answers for what Docker has only where its experimental features are
// on, and this engine not at all.
func experimental(http.ResponseWriter, *route.Request) error {
	return route.NotImplemented(errExperimental)
}
