package dockerapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/common"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Area is one part of the API. One that is an io.Closer too is closed with the
// Server, in reverse order.
type Area interface {
	Routes() []route.Route
}

// Options of New.
type Options struct {
	// Version of the engine, in the Server header.
	Version string
	// Areas makes the areas, once, in the order in which routes are tried.
	Areas func(context.Context) ([]Area, error)
	Log   *slog.Logger
}

// Server is the handler of the whole API.
type Server struct {
	o Options

	mu     sync.Mutex
	begun  bool
	closed bool
	areas  []Area
	routes []route.Route
}

// New makes a server that has made nothing yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o: o}
}

// Begin makes the areas if they are not there yet.
func (s *Server) Begin(ctx context.Context) error {
	_, err := s.table(ctx)
	return err
}

// ErrClosed is what a server answers that has been closed.
var ErrClosed = route.Unavailable(errors.New("the engine is stopping"))

func (s *Server) table(ctx context.Context) ([]route.Route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.begun {
		return s.routes, nil
	}
	areas, err := s.o.Areas(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("begin the Docker API: %w", err)
	}
	s.begun, s.areas = true, areas
	for _, a := range areas {
		s.routes = append(s.routes, a.Routes()...)
	}
	return s.routes, nil
}

// Close ends what the areas have begun.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for i := len(s.areas) - 1; i >= 0; i-- {
		if c, ok := s.areas[i].(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	s.areas, s.routes = nil, nil
	return errors.Join(errs...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if clean := cleanPath(r.URL.Path); clean != r.URL.Path && r.Method != http.MethodConnect {
		u := *r.URL
		u.Path, u.RawPath = clean, ""
		w.Header().Set("Location", u.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	routes, err := s.table(r.Context())
	if err != nil {
		s.fail(w, r, route.Version, err)
		return
	}
	version, given, rest := splitVersion(r.URL.Path)
	if r.Method == http.MethodOptions {
		s.serve(w, route.NewRequest(r, version, "", ""), given, options)
		return
	}
	for i := range routes {
		if name, value, ok := routes[i].Match(r.Method, rest); ok && route.CompareVersions(version, routes[i].Min) >= 0 {
			s.serve(w, route.NewRequest(r, version, name, value), given, routes[i].Handler)
			return
		}
	}
	// Also for a method that the path does not have.
	s.fail(w, r, route.Version, errNoPage)
}

var errNoPage = route.NotFound(errors.New("page not found"))

func options(w http.ResponseWriter, _ *route.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// serve checks the version, answers and reports what goes wrong.
func (s *Server) serve(w http.ResponseWriter, r *route.Request, given bool, h route.Handler) {
	head := w.Header()
	head.Set("Server", "Docker/"+s.o.Version+" ("+runtime.GOOS+")")
	head.Set("Api-Version", route.Version)
	head.Set("Ostype", runtime.GOOS)
	if given {
		if err := checkVersion(r.Version); err != nil {
			s.fail(w, r.Request, r.Version, err)
			return
		}
	}
	head.Set("Docker-Experimental", "false")
	t := &tracker{ResponseWriter: w}
	err := r.ParseForm()
	if err != nil && strings.HasPrefix(err.Error(), "mime:") {
		err = nil
	}
	if err != nil {
		err = route.Invalid(err)
	} else {
		err = h(t, r)
	}
	switch {
	case err == nil:
	case t.begun:
		if r.Context().Err() == nil {
			s.o.Log.Warn("an answer broke off", "method", r.Method, "path", r.URL.Path, "err", err)
		}
	default:
		s.fail(w, r.Request, r.Version, err)
	}
}

func checkVersion(v string) error {
	if route.CompareVersions(v, route.MinVersion) < 0 {
		return route.Invalidf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, route.MinVersion)
	}
	if route.CompareVersions(v, route.Version) > 0 {
		return route.Invalidf("client version %s is too new. Maximum supported API version is %s", v, route.Version)
	}
	return nil
}

// textBefore is the API version before which errors are plain text.
const textBefore = "1.24"

func (s *Server) fail(w http.ResponseWriter, r *http.Request, version string, err error) {
	status := route.Status(err)
	if status >= http.StatusInternalServerError {
		s.o.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	switch {
	case status == http.StatusNotModified:
		w.WriteHeader(status)
	case route.CompareVersions(version, textBefore) < 0:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		fmt.Fprintln(w, err)
	default:
		if err := route.WriteJSON(w, status, &common.ErrorResponse{Message: err.Error()}); err != nil {
			s.o.Log.Debug("an error could not be answered", "err", err)
		}
	}
}

// splitVersion takes "/v1.50" from the path; without it the version is the newest.
func splitVersion(p string) (version string, given bool, rest string) {
	after, ok := strings.CutPrefix(p, "/v")
	if !ok {
		return route.Version, false, p
	}
	v, rest, ok := strings.Cut(after, "/")
	if !ok || v == "" || strings.Trim(v, "0123456789.") != "" {
		return route.Version, false, p
	}
	return v, true, "/" + rest
}

// cleanPath is the path without doubled slashes and dots, a slash at its end kept.
func cleanPath(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if p[len(p)-1] == '/' && clean != "/" {
		clean += "/"
	}
	return clean
}

// tracker knows whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	begun bool
}

func (t *tracker) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(p []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Hijack implements http.Hijacker.
func (t *tracker) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	t.begun = true
	return http.NewResponseController(t.ResponseWriter).Hijack()
}
