// Package registry serves the OCI distribution protocol over the content of the image
// store: what is pushed to it is on the disk once, whether a container runs it or a
// client pulls it. A repository is a lease that holds its blobs and manifests, a tag
// is a name; both are in the store's own records (Shelf), so that its one collector
// deletes what neither a repository nor an image refers to. Everything here may be
// read and written by whoever reaches the port: it listens on loopback unless it has
// a certificate.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Shelf is where the repositories are.
type Shelf interface {
	Context(ctx context.Context) context.Context
	Content() content.Store
	Leases() leases.Manager
	Names() images.Store
	Open(d digest.Digest) (*os.File, error)
	// Hold keeps content that is begun and not finished until done is called.
	Hold() (done func())
	Free() (int64, error)
	Collect(ctx context.Context) error
}

// Options of New.
type Options struct {
	Shelf Shelf
	Log   *slog.Logger
	// Idle is after how long an upload that nobody goes on with is forgotten; 0 is 15
	// minutes. Unused is after how long a blob to which no manifest of its repository
	// refers is; 0 is a day.
	Idle, Unused time.Duration
}

// Server is the handler of a registry.
type Server struct {
	o    Options
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	repos   map[string]*repository
	uploads map[string]*upload
}

// New reads what is there. Close it.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Idle == 0 {
		o.Idle = 15 * time.Minute
	}
	if o.Unused == 0 {
		o.Unused = 24 * time.Hour
	}
	s := &Server{o: o, repos: map[string]*repository{}, uploads: map[string]*upload{}}
	if err := s.load(o.Shelf.Context(ctx)); err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.upkeep(run) })
	return s, nil
}

// Close ends uploads that are not finished.
func (s *Server) Close() error {
	s.stop()
	s.done.Wait()
	s.mu.Lock()
	all := s.uploads
	s.uploads = map[string]*upload{}
	s.mu.Unlock()
	for _, u := range all {
		u.end()
	}
	return nil
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const maxName = 255

// problem is an error as the protocol tells it.
type problem struct {
	status        int
	code, message string
}

func (p *problem) Error() string { return p.message }

func errName(name string) error {
	return &problem{http.StatusBadRequest, "NAME_INVALID", fmt.Sprintf("invalid repository name %q", name)}
}
func errDigest(text string) error {
	return &problem{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("invalid digest %q", text)}
}
func errBlob(d digest.Digest) error {
	return &problem{http.StatusNotFound, "BLOB_UNKNOWN", fmt.Sprintf("blob %s is not in the repository", d)}
}

// request is one request to one repository.
type request struct {
	*http.Request
	repo string // its name
	last string // what follows the kind: a tag, a digest, an upload
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	r = r.WithContext(s.o.Shelf.Context(r.Context()))
	if err := s.route(w, r); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &big):
		p = &problem{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("the request is longer than %d bytes", big.Limit)}
	case errors.Is(err, unix.ENOSPC):
		p = &problem{http.StatusInsufficientStorage, "UNKNOWN", "no space left on the registry's disk"}
	case r.Context().Err() != nil:
		return // nobody hears it
	default:
		s.o.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		p = &problem{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	s.write(w, p.status, map[string][]entry{"errors": {{p.code, p.message}}})
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	s.body(w, status, v)
}

// body writes JSON; the media type is set.
func (s *Server) body(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{}`)
	}
	w.WriteHeader(status)
	if _, err := w.Write(b); err != nil {
		s.o.Log.Debug("an answer broke off", "err", err)
	}
}

// handlers by method; HEAD is GET's.
type handlers map[string]func(http.ResponseWriter, *request) error

func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2")
	switch {
	case ok && (rest == "" || rest == "/"):
		s.write(w, http.StatusOK, struct{}{})
		return nil
	case rest == "/_catalog" && r.Method == http.MethodGet:
		return s.catalog(w, r)
	case !ok || !strings.HasPrefix(rest, "/"):
		return &problem{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
	}
	rest = rest[1:]
	for _, k := range []struct {
		infix string
		h     handlers
	}{
		{"/blobs/uploads/", handlers{"POST": s.begin, "PATCH": s.patch, "PUT": s.finish, "GET": s.progress, "DELETE": s.cancel}},
		{"/blobs/", handlers{"GET": s.blob, "DELETE": s.deleteBlob}},
		{"/manifests/", handlers{"GET": s.manifest, "PUT": s.putManifest, "DELETE": s.deleteManifest}},
		{"/referrers/", handlers{"GET": s.referrers}},
		{"/tags/list", handlers{"GET": s.tags}},
	} {
		i := strings.LastIndex(rest, k.infix)
		if k.infix == "/blobs/uploads/" && i < 0 {
			if name, ok := strings.CutSuffix(rest, "/blobs/uploads"); ok {
				rest, i = name+k.infix, len(name)
			}
		}
		if i < 0 {
			continue
		}
		q := &request{Request: r, repo: rest[:i], last: rest[i+len(k.infix):]}
		if len(q.repo) > maxName || !namePattern.MatchString(q.repo) {
			return errName(q.repo)
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h, ok := k.h[method]
		if !ok {
			return &problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "method " + r.Method + " is not supported here"}
		}
		return h(w, q)
	}
	return &problem{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
}
