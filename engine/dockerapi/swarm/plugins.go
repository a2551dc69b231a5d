package swarm

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/plugin"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

var errNoPlugins = route.NotImplemented(errors.New("plugins are not supported by this engine"))

// plugins are the endpoints of an engine that has none.
func plugins() []route.Route {
	return []route.Route{
		route.Get("/plugins", listPlugins),
		route.Get("/plugins/privileges", privileges),
		route.Post("/plugins/pull", pullPlugin),
		route.Post("/plugins/create", createPlugin),
		route.Get("/plugins/{name}/json", noPlugin),
		route.Post("/plugins/{name}/enable", enablePlugin),
		route.Post("/plugins/{name}/disable", noPlugin),
		route.Post("/plugins/{name}/push", noPlugin),
		route.Post("/plugins/{name}/upgrade", upgradePlugin).From("1.26"),
		route.Post("/plugins/{name}/set", setPlugin),
		route.Delete("/plugins/{name}", noPlugin),
	}
}

func listPlugins(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	if err := f.Check("enabled", "capability"); err != nil {
		return err
	}
	if _, err := f.Bool("enabled", false); err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, []plugin.Plugin{})
}

// privileges are none, as Docker answers when it cannot read the plugin.
func privileges(w http.ResponseWriter, r *route.Request) error {
	if err := remote(r); err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, plugin.Privileges{})
}

func remote(r *route.Request) error {
	_, err := reference.ParseNormalizedNamed(r.Form.Get("remote"))
	return route.Invalid(err)
}

func noPlugin(_ http.ResponseWriter, r *route.Request) error {
	return route.NotFoundf("plugin %q not found", r.Var("name"))
}

func enablePlugin(w http.ResponseWriter, r *route.Request) error {
	if _, err := strconv.Atoi(r.Form.Get("timeout")); err != nil {
		return route.Invalid(err)
	}
	return noPlugin(w, r)
}

func setPlugin(w http.ResponseWriter, r *route.Request) error {
	var args []string
	if err := r.ReadJSON(&args); err != nil {
		return err
	}
	return noPlugin(w, r)
}

func upgradePlugin(w http.ResponseWriter, r *route.Request) error {
	var granted plugin.Privileges
	if err := r.ReadJSON(&granted); err != nil {
		return err
	}
	if err := remote(r); err != nil {
		return err
	}
	return noPlugin(w, r)
}

func pullPlugin(_ http.ResponseWriter, r *route.Request) error {
	var granted plugin.Privileges
	if err := r.ReadJSON(&granted); err != nil {
		return err
	}
	if err := remote(r); err != nil {
		return err
	}
	return errNoPlugins
}

func createPlugin(_ http.ResponseWriter, r *route.Request) error {
	name := r.Form.Get("name")
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return route.Internal(fmt.Errorf("failed to parse reference %v: %w", name, err))
	}
	if _, ok := ref.(reference.Canonical); ok {
		return route.Internalf("canonical references are not permitted")
	}
	return errNoPlugins
}
