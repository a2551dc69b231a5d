// Package route is what every area of the Docker Engine API is made of: a Route,
// the Request that its Handler gets, and the ways of answering as Docker does:
// JSON, streams of JSON messages, hijacked connections and multiplexed output.
// Errors are returned with a kind of github.com/containerd/errdefs; the server in
// engine/dockerapi turns them into a status, once, by Status.
package route

import (
	"net/http"
	"strings"
)

// Handler answers one request. An error that it returns becomes the answer, if
// nothing has been written yet; after that it is only logged.
type Handler func(w http.ResponseWriter, r *Request) error

// Route is one endpoint. Pattern is a path without version that may have one
// variable, "{name}", which stands for one or more segments, slashes included, as
// image names need: "/images/{name}/json". A "*" at its end is any last segment. Of
// several that match, the first wins.
type Route struct {
	Method, Pattern string
	Handler         Handler
	// Min is the API version from which the route is served; "" is all.
	Min string
}

// Get makes a Route, as do Head, Post, Put and Delete.
func Get(pattern string, h Handler) Route {
	return Route{Method: http.MethodGet, Pattern: pattern, Handler: h}
}

// Head makes a Route.
func Head(pattern string, h Handler) Route {
	return Route{Method: http.MethodHead, Pattern: pattern, Handler: h}
}

// Post makes a Route.
func Post(pattern string, h Handler) Route {
	return Route{Method: http.MethodPost, Pattern: pattern, Handler: h}
}

// Put makes a Route.
func Put(pattern string, h Handler) Route {
	return Route{Method: http.MethodPut, Pattern: pattern, Handler: h}
}

// Delete makes a Route.
func Delete(pattern string, h Handler) Route {
	return Route{Method: http.MethodDelete, Pattern: pattern, Handler: h}
}

// From gives the route the oldest API version that has it.
func (r Route) From(version string) Route {
	r.Min = version
	return r
}

// Match tells whether the route is that of a path without version; the variable's
// value is returned with its name.
func (r *Route) Match(method, path string) (name, value string, ok bool) {
	if r.Method != method {
		return "", "", false
	}
	pattern := r.Pattern
	if front, ok := strings.CutSuffix(pattern, "/*"); ok {
		i := strings.LastIndexByte(path, '/')
		if i <= 0 || i == len(path)-1 {
			return "", "", false
		}
		pattern, path = front, path[:i]
	}
	before, rest, has := strings.Cut(pattern, "{")
	if !has {
		return "", "", pattern == path
	}
	name, after, _ := strings.Cut(rest, "}")
	inner, ok := strings.CutPrefix(path, before)
	if !ok {
		return "", "", false
	}
	if value, ok = strings.CutSuffix(inner, after); !ok || value == "" {
		return "", "", false
	}
	return name, value, true
}
