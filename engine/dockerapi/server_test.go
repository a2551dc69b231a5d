package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

type testArea struct{ closed *bool }

func (a testArea) Close() error { *a.closed = true; return nil }

func (testArea) Routes() []route.Route {
	say := func(w http.ResponseWriter, r *route.Request) error {
		return route.WriteJSON(w, http.StatusOK, map[string]string{"name": r.Var("name"), "version": r.Version})
	}
	return []route.Route{
		route.Get("/containers/json", say),
		route.Get("/images/{name}/json", say),
		route.Post("/new", say).From("1.50"),
		route.Get("/gone", func(http.ResponseWriter, *route.Request) error {
			return fmt.Errorf("No such container: x: %w", engine.ErrNotFound)
		}),
		route.Get("/same", func(http.ResponseWriter, *route.Request) error { return route.ErrNotModified }),
		route.Post("/body", func(w http.ResponseWriter, r *route.Request) error {
			var v struct{ A int }
			if err := r.ReadJSON(&v); err != nil {
				return err
			}
			return route.WriteJSON(w, http.StatusOK, v)
		}),
	}
}

func TestServer(t *testing.T) {
	closed := false
	made := 0
	s := New(Options{Version: "9", Areas: func(context.Context) ([]Area, error) { made++; return []Area{testArea{&closed}}, nil }})
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{"GET", "/containers/json", "", "", 200, `{"name":"","version":"1.56"}`},
		{"GET", "/v1.40/images/a/b:1/json", "", "", 200, `{"name":"a/b:1","version":"1.40"}`},
		{"GET", "/v1.57/containers/json", "", "", 400, `{"message":"client version 1.57 is too new. Maximum supported API version is 1.56"}`},
		{"GET", "/v1.23/containers/json", "", "", 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"POST", "/containers/json", "", "", 404, `{"message":"page not found"}`},
		{"GET", "/v1.50/v1.50/containers/json", "", "", 404, `{"message":"page not found"}`},
		{"POST", "/v1.49/new", "", "", 404, `{"message":"page not found"}`},
		{"POST", "/v1.50/new", "", "", 200, `{"name":"","version":"1.50"}`},
		{"GET", "/v1.50/containers//json", "", "", 301, ""},
		{"GET", "/gone", "", "", 404, `{"message":"No such container: x: engine: not found"}`},
		{"GET", "/same", "", "", 304, ""},
		{"OPTIONS", "/v1.50/any", "", "", 200, ""},
		{"POST", "/body", "text/plain", "{}", 400, `{"message":"unsupported Content-Type header (text/plain): must be 'application/json'"}`},
		{"POST", "/body", "application/json", `{"A":"x"}`, 400, `{"message":"invalid JSON: json: cannot unmarshal string into Go struct field .A of type int"}`},
		{"POST", "/body", "application/json", `{} x`, 400, `{"message":"unexpected content after JSON"}`},
		{"POST", "/body", "application/json", `{"A":2}`, 200, `{"A":2}`},
		{"POST", "/body", "", "", 200, `{"A":0}`},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != c.want {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, got)
		}
	}
	if made != 1 {
		t.Errorf("areas were made %d times", made)
	}
	if err := s.Close(); err != nil || !closed {
		t.Errorf("close: %v %v", err, closed)
	}
}

func TestStatus(t *testing.T) {
	base := errors.New("x")
	for _, c := range []struct {
		err  error
		want int
	}{
		{base, 500},
		{route.Invalid(base), 400},
		{fmt.Errorf("a: %w", route.Conflict(base)), 409},
		{route.NotFound(fmt.Errorf("b: %w", engine.ErrRunning)), 404},
		{errors.Join(base, route.NotFound(base)), 404},
		{fmt.Errorf("c: %w", engine.ErrInUse), 409},
	} {
		if got := route.Status(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
