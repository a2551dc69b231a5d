package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"sync"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/engine"
)

// localServer serves localapi on the run directory's socket. Only root can open it: the
// directory and the socket are root's alone.
type localServer struct {
	status func(context.Context) localapi.Status
	images engine.Images
	stop   func(localapi.StopRequest)
	rotate func(context.Context) (localapi.RotatedKey, error)
}

// serveLocal listens and serves until the returned func is called.
func serveLocal(runDir string, l *localServer) (stop func(), err error) {
	path := filepath.Join(runDir, localapi.Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	srv := &http.Server{Handler: l.handler()}
	go srv.Serve(ln) //nolint:errcheck // ends with ErrServerClosed
	return func() { srv.Close() }, nil
}

func (l *localServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { reply(w, l.status(r.Context()), nil) })
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		var req localapi.StopRequest
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&req)
		reply(w, struct{}{}, err)
		if err == nil {
			l.stop(req)
		}
	})
	mux.HandleFunc("POST /secrets/rotate-key", func(w http.ResponseWriter, r *http.Request) {
		rotated, err := l.rotate(r.Context())
		reply(w, rotated, err)
	})
	if l.images == nil {
		none := func(w http.ResponseWriter, _ *http.Request) {
			reply(w, nil, fmt.Errorf("%w: this server runs no node, so it has no images", engine.ErrNotFound))
		}
		mux.HandleFunc("/images", none)
		mux.HandleFunc("/images/", none)
		return mux
	}
	mux.HandleFunc("GET /images", func(w http.ResponseWriter, r *http.Request) {
		images, err := l.images.List(r.Context())
		reply(w, wireImages(images), err)
	})
	mux.HandleFunc("DELETE /images", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, l.images.Remove(r.Context(), r.URL.Query().Get("ref")))
	})
	mux.HandleFunc("POST /images/load", l.load)
	mux.HandleFunc("POST /images/pull", l.pull)
	// What it spends time and memory on: go tool pprof cannot dial a unix socket, so
	// curl --unix-socket <run>/skiff.sock http://skiff/debug/pprof/heap first.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (l *localServer) load(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var images []*engine.Image
	var err error
	if dir := q.Get("dir"); dir != "" {
		images, err = l.images.LoadDir(r.Context(), dir, q.Get("name"))
	} else {
		images, err = l.images.Load(r.Context(), r.Body, q.Get("name"))
	}
	newLines(w).end(images, err)
}

func (l *localServer) pull(w http.ResponseWriter, r *http.Request) {
	lines := newLines(w)
	var req localapi.PullRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&req); err != nil {
		lines.end(nil, err)
		return
	}
	o := engine.PullOptions{Insecure: req.Insecure, Again: true, Progress: func(p engine.PullProgress) {
		lines.write(localapi.StreamLine{Progress: &localapi.Progress{
			Digest: p.Digest, Kind: p.Description, Offset: p.Offset, Total: p.Total, Done: p.Done}})
	}}
	if req.User != "" {
		o.Credentials = func(string) (string, string, error) { return req.User, req.Secret, nil }
	}
	image, err := l.images.Pull(r.Context(), req.Ref, o)
	if err != nil {
		lines.end(nil, err)
		return
	}
	lines.end([]*engine.Image{image}, nil)
}

// lines writes StreamLines, each at once.
type lines struct {
	mu  sync.Mutex
	w   http.ResponseWriter
	enc *json.Encoder
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &lines{w: w, enc: json.NewEncoder(w)}
}

func (l *lines) write(s localapi.StreamLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.enc.Encode(s) == nil {
		_ = http.NewResponseController(l.w).Flush()
	}
}

func (l *lines) end(images []*engine.Image, err error) {
	if err != nil {
		l.write(localapi.StreamLine{Error: err.Error()})
		return
	}
	l.write(localapi.StreamLine{Done: true, Images: wireImages(images)})
}

func wireImages(images []*engine.Image) []localapi.Image {
	out := make([]localapi.Image, 0, len(images))
	for _, im := range images {
		out = append(out, localapi.Image{ID: im.ID, Names: im.Names, Digests: im.Digests, Size: im.Size, Created: im.CreatedAt})
	}
	return out
}

func reply(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		code := http.StatusInternalServerError
		switch {
		case errors.Is(err, engine.ErrNotFound):
			code = http.StatusNotFound
		case errors.Is(err, engine.ErrInUse):
			code = http.StatusConflict
		case errors.Is(err, engine.ErrInvalid):
			code = http.StatusBadRequest
		}
		w.WriteHeader(code)
		body = localapi.Error{Message: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(body)
}
