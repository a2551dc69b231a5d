// Package swarm answers the parts of the Docker Engine API that belong to a swarm,
// and those of plugins, as an engine does that is in no swarm and has no plugins:
// requests are read and checked, then refused. It keeps nothing.
package swarm

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// Errors of an engine outside a swarm, in Docker's words.
var (
	errNoSwarm = route.Unavailablef("This node is not part of a swarm")
	errNoMode  = route.NotImplemented(errors.New("swarm mode is not supported by this engine"))
)

// Area is the area of swarms and plugins.
type Area struct{}

// New makes it.
func New() *Area { return &Area{} }

// Routes are the endpoints of the area.
func (a *Area) Routes() []route.Route {
	routes := []route.Route{
		route.Get("/swarm", refuse),
		route.Get("/swarm/unlockkey", refuse),
		route.Post("/swarm/init", initialise),
		route.Post("/swarm/join", join),
		route.Post("/swarm/leave", leave),
		route.Post("/swarm/update", update),
		route.Post("/swarm/unlock", withBody[swarm.UnlockRequest]),

		route.Get("/services", services),
		route.Post("/services/create", withBody[swarm.ServiceSpec]),
		route.Get("/services/{id}/logs", logs),
		route.Post("/services/{id}/update", versioned[swarm.ServiceSpec](invalidVersion("service"))),
		route.Get("/services/{id}", service),
		route.Delete("/services/{id}", refuse),

		route.Get("/nodes", list),
		route.Post("/nodes/{id}/update", versioned[swarm.NodeSpec](invalidVersion("node"))),
		route.Get("/nodes/{id}", refuse),
		route.Delete("/nodes/{id}", refuse),

		route.Get("/tasks", list),
		route.Get("/tasks/{id}/logs", logs),
		route.Get("/tasks/{id}", refuse),
	}
	for _, kind := range []struct {
		path, since    string
		create, update route.Handler
	}{
		{"/secrets", "1.25", withBody[swarm.SecretSpec], versioned[swarm.SecretSpec](invalidIndex("secret"))},
		{"/configs", "1.30", withBody[swarm.ConfigSpec], versioned[swarm.ConfigSpec](invalidIndex("config"))},
	} {
		routes = append(routes,
			route.Get(kind.path, list).From(kind.since),
			route.Post(kind.path+"/create", kind.create).From(kind.since),
			route.Post(kind.path+"/{id}/update", kind.update).From(kind.since),
			route.Get(kind.path+"/{id}", refuse).From(kind.since),
			route.Delete(kind.path+"/{id}", refuse).From(kind.since),
		)
	}
	return append(routes, plugins()...)
}

func refuse(http.ResponseWriter, *route.Request) error { return route.ErrNoManager }

func leave(http.ResponseWriter, *route.Request) error { return errNoSwarm }

// list refuses filters that cannot be read first.
func list(_ http.ResponseWriter, r *route.Request) error {
	if _, err := filters.Of(r); err != nil {
		return err
	}
	return route.ErrNoManager
}

func services(w http.ResponseWriter, r *route.Request) error {
	if err := boolean(r, "status"); err != nil && r.Since("1.41") {
		return err
	}
	return list(w, r)
}

func service(_ http.ResponseWriter, r *route.Request) error {
	if err := boolean(r, "insertDefaults"); err != nil {
		return err
	}
	return route.ErrNoManager
}

func boolean(r *route.Request, name string) error {
	value := r.URL.Query().Get(name)
	if value == "" {
		return nil
	}
	if _, err := strconv.ParseBool(value); err != nil {
		return route.Invalidf("invalid value for %s: %s: %w", name, value, err)
	}
	return nil
}

func logs(_ http.ResponseWriter, r *route.Request) error {
	if !r.Bool("stdout") && !r.Bool("stderr") {
		return route.Invalidf("must specify at least one of 'stdout' or 'stderr'")
	}
	return route.ErrNoManager
}

// withBody refuses a body that is no T first.
func withBody[T any](_ http.ResponseWriter, r *route.Request) error {
	var body T
	if err := r.ReadJSON(&body); err != nil {
		return err
	}
	return route.ErrNoManager
}

// versioned refuses also a version that is no number, with the error that refusal
// makes of it.
func versioned[T any](refusal func(version string, err error) error) route.Handler {
	return func(_ http.ResponseWriter, r *route.Request) error {
		var body T
		if err := r.ReadJSON(&body); err != nil {
			return err
		}
		version := r.URL.Query().Get("version")
		if _, err := strconv.ParseUint(version, 10, 64); err != nil {
			return refusal(version, err)
		}
		return route.ErrNoManager
	}
}

// invalidVersion refuses the version of a kind, and tells it.
func invalidVersion(kind string) func(string, error) error {
	return func(version string, err error) error {
		return route.Invalidf("invalid %s version '%s': %v", kind, version, err)
	}
}

// invalidIndex refuses it and does not.
func invalidIndex(kind string) func(string, error) error {
	return func(string, error) error { return route.Invalidf("invalid %s version", kind) }
}

func update(w http.ResponseWriter, r *route.Request) error {
	if err := versioned[swarm.Spec](invalidVersion("swarm"))(w, r); err != route.ErrNoManager {
		return err
	}
	for _, name := range []string{"rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"} {
		value := r.URL.Query().Get(name)
		if value == "" {
			continue
		}
		if _, err := strconv.ParseBool(value); err != nil {
			return route.Invalidf("invalid value for %s: %s", name, value)
		}
	}
	return route.ErrNoManager
}
