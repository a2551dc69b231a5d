// Package containers is the area /containers and /exec of the Docker Engine API:
// what a container is in Docker's words, and its life. A container runs in
// engine.Engine, in a sandbox of its own that lives as long as a run, with the same
// id; label Mine tells it from containers of others, whom this package never
// touches. What must outlast this process is in one file a container, written by
// this package alone; that a container runs, and how it ended, the engine knows.
//
// Fields of a container are guarded by Area.mu, held for moments; its op lock is
// held by whatever changes its run: start, the clean-up of its end, removal.
package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Mine is the label of our containers in the engine.
const Mine = "dev.skiff.docker"

// Engine is what runs containers, with the abilities that this area needs.
type Engine interface {
	engine.Engine
	engine.Editor
	engine.Pauser
	engine.AttachedStarter
	engine.Resizer
	engine.Inspector
	engine.Files
}

// Image is what containers want to know of an image.
type Image struct {
	// ID as Docker shows it, and the one by which the engine knows it.
	ID, EngineID string
	Config       imagespec.Image
	Descriptor   *imagespec.Descriptor
	// Health, Shell and OnBuild are Docker's additions to the configuration.
	Docker DockerConfig
}

// Images finds images. What is not there is an error of kind not found.
type Images interface {
	Find(ctx context.Context, ref string, platform *imagespec.Platform) (*Image, error)
}

// Networks is the part of bridge.Networks that containers need.
type Networks interface {
	Get(ctx context.Context, network string) (*bridge.Network, error)
	Connect(ctx context.Context, network string, e bridge.Endpoint) (*bridge.Attachment, error)
	Disconnect(ctx context.Context, network, container string) error
	Leave(ctx context.Context, container string) error
	Rename(ctx context.Context, container, name string) error
	Attached(ctx context.Context, container string) (map[string]bridge.Attachment, []bridge.Binding, error)
	Files(ctx context.Context, container string) (*bridge.Files, error)
}

// Volume is a volume that a container mounts.
type Volume struct{ Name, Driver, Mountpoint string }

// VolumeSpec asks for a volume; Name "" is an anonymous one.
type VolumeSpec struct {
	Name, Driver    string
	Options, Labels map[string]string
}

// Volumes keeps volumes and who uses them.
type Volumes interface {
	// Use finds or makes a volume and notes that a container uses it.
	Use(ctx context.Context, s VolumeSpec, container string) (Volume, error)
	// Mount makes the volume's Mountpoint ready for a container's run; Unmount ends that.
	Mount(ctx context.Context, name, container string) (Volume, error)
	Unmount(ctx context.Context, name, container string) error
	// Unuse ends Use; with remove the volume goes if it is anonymous and nobody else's.
	Unuse(ctx context.Context, name, container string, remove bool) error
}

// Options of New.
type Options struct {
	Dir      string // D/docker/containers
	Engine   Engine
	Images   Images
	Networks Networks
	Volumes  Volumes
	Events   *event.Hub
	// Mounter is the kernel's where none is given.
	Mounter Mounter
	Log     *slog.Logger
	// CgroupVersion of the machine.
	CgroupVersion int
	// Runtime is the runtime's name in the API.
	Runtime string
}

// Area implements dockerapi.Area.
type Area struct {
	o   Options
	ctx context.Context // ends with Close

	stop  context.CancelFunc
	ended sync.WaitGroup

	anticipate func() // tells the engine that a process will be started

	mu    sync.Mutex
	all   map[string]*cont  // by id
	names map[string]string // to id; without slash
	execs map[string]*execution
}

// New loads what is there and goes on with it: running containers are watched,
// those whose restart policy says so are started again.
func New(ctx context.Context, o Options) (*Area, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Mounter == nil {
		o.Mounter = kernelMounter{}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	a := &Area{o: o, ctx: run, stop: stop, all: map[string]*cont{}, names: map[string]string{}, execs: map[string]*execution{}, anticipate: func() {}}
	if e, ok := o.Engine.(engine.Anticipator); ok {
		a.anticipate = e.Anticipate
	}
	events := o.Engine.Events(run)
	if err := a.load(ctx); err != nil {
		stop()
		return nil, err
	}
	a.ended.Go(func() { a.follow(events) })
	return a, nil
}

// Close implements io.Closer: containers run on.
func (a *Area) Close() error {
	a.stop()
	a.ended.Wait()
	return nil
}

// Any tells whether dir has containers, so that the area has to be there.
func Any(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// Routes implements dockerapi.Area.
func (a *Area) Routes() []route.Route {
	return []route.Route{
		route.Get("/containers/json", a.list),
		route.Post("/containers/create", a.create),
		route.Post("/containers/prune", a.prune).From("1.25"),
		route.Get("/containers/{name}/json", a.inspect),
		route.Get("/containers/{name}/top", a.top),
		route.Get("/containers/{name}/logs", a.logs),
		route.Get("/containers/{name}/stats", a.stats),
		route.Get("/containers/{name}/changes", a.changes),
		route.Get("/containers/{name}/export", a.export),
		route.Get("/containers/{name}/attach/ws", a.attachWebsocket),
		route.Head("/containers/{name}/archive", a.statPath),
		route.Get("/containers/{name}/archive", a.getArchive),
		route.Put("/containers/{name}/archive", a.putArchive),
		route.Post("/containers/{name}/start", a.start),
		route.Post("/containers/{name}/stop", a.stopContainer),
		route.Post("/containers/{name}/restart", a.restart),
		route.Post("/containers/{name}/kill", a.kill),
		route.Post("/containers/{name}/pause", a.pause),
		route.Post("/containers/{name}/unpause", a.unpause),
		route.Post("/containers/{name}/rename", a.rename),
		route.Post("/containers/{name}/update", a.update),
		route.Post("/containers/{name}/wait", a.wait),
		route.Post("/containers/{name}/resize", a.resize),
		route.Post("/containers/{name}/attach", a.attach),
		route.Post("/containers/{name}/exec", a.execCreate),
		route.Post("/exec/{id}/start", a.execStart),
		route.Post("/exec/{id}/resize", a.execResize),
		route.Get("/exec/{id}/json", a.execInspect),
		route.Delete("/containers/{name}", a.remove),
	}
}

// file is where a container is kept.
func (a *Area) file(id string) string { return filepath.Join(a.o.Dir, id+".json") }

// dir is where the files are that a container sees: hosts, resolv.conf, its log.
func (a *Area) dir(id string) string { return filepath.Join(filepath.Dir(a.o.Dir), "files", id) }

// notify logs an error that nobody can be told.
func (a *Area) notify(what, id string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		a.o.Log.Warn(what, "container", id, "err", err)
	}
}

func notRunning(id string) error {
	return route.Conflict(fmt.Errorf("container %s is not running", id))
}
