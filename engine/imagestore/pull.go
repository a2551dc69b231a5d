package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	rerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
)

// fetches is how many pieces of content one pull fetches at a time.
const fetches = 4

// pull is one pull in progress; several callers may wait for it.
type pull struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int
	out     engine.Pulled
	err     error

	mu       sync.Mutex
	progress []func(engine.PullProgress)
}

func (p *pull) tell(pp engine.PullProgress) {
	p.mu.Lock()
	fns := p.progress
	p.mu.Unlock()
	for _, f := range fns {
		f(pp)
	}
}

var _ engine.Registries = (*Store)(nil)

// Pull implements engine.Images.
func (s *Store) Pull(ctx context.Context, ref string, o engine.PullOptions) (*engine.Image, error) {
	o.Platform = nil
	p, err := s.PullWith(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	img, err := s.show(ctx, images.Image{Name: p.Record.Name, Target: p.Record.Target})
	if err != nil {
		return nil, pullError(ref, err)
	}
	return img, nil
}

// PullWith implements engine.Registries. The work ends when nobody waits for it any
// more.
func (s *Store) PullWith(ctx context.Context, ref string, o engine.PullOptions) (engine.Pulled, error) {
	name, err := engine.NormalizeRef(ref)
	if err != nil {
		return engine.Pulled{}, &engine.PullError{Ref: ref, Reason: engine.PullInvalidName, Err: err}
	}
	key := name
	if o.Platform != nil {
		key += " " + platforms.FormatAll(*o.Platform)
	}
	s.mu.Lock()
	p, running := s.pulls[key]
	if !running {
		p = &pull{done: make(chan struct{})}
		var work context.Context
		work, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.pulls[key] = p
		go func() {
			defer p.cancel()
			out, err := s.pull(s.context(work), name, o, p.tell)
			s.mu.Lock()
			p.out, p.err = out, err
			if s.pulls[key] == p {
				delete(s.pulls, key)
			}
			s.mu.Unlock()
			close(p.done)
		}()
	}
	p.waiting++
	s.mu.Unlock()
	if o.Progress != nil {
		p.mu.Lock()
		p.progress = append(p.progress[:len(p.progress):len(p.progress)], o.Progress)
		p.mu.Unlock()
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		s.mu.Lock()
		if p.waiting--; p.waiting == 0 {
			p.cancel()
			if s.pulls[key] == p {
				delete(s.pulls, key) // the next caller begins anew
			}
		}
		s.mu.Unlock()
		return engine.Pulled{}, &engine.PullError{Ref: ref, Reason: engine.PullOther, Err: ctx.Err()}
	}
	if p.err != nil {
		return engine.Pulled{}, pullError(ref, p.err)
	}
	return p.out, nil
}

// pull does the work of one pull.
func (s *Store) pull(ctx context.Context, name string, o engine.PullOptions, tell func(engine.PullProgress)) (engine.Pulled, error) {
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return engine.Pulled{}, err
	}
	out, err := s.fetch(leased, name, o, tell)
	done()
	if err != nil {
		return out, errors.Join(err, s.collect(ctx))
	}
	return out, nil
}

// maxManifest bounds what is read into memory: manifests, indexes and configs.
const maxManifest = 8 << 20

func (s *Store) fetch(ctx context.Context, name string, o engine.PullOptions, tell func(engine.PullProgress)) (out engine.Pulled, err error) {
	resolver := s.newResolver(ctx, o, nil)
	resolved, desc, err := resolver.Resolve(ctx, name)
	if err != nil {
		return out, &resolveError{name, err}
	}
	if desc.MediaType == images.MediaTypeDockerSchema1Manifest {
		return out, fmt.Errorf("%w: an image of Docker's schema 1, which is no longer supported", errPlatform)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		return out, err
	}
	source, err := docker.AppendDistributionSourceLabel(s.content, name)
	if err != nil {
		return out, err
	}
	match := s.platform
	if o.Platform != nil {
		match = platforms.Only(*o.Platform)
	}
	look := images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		if !isBlob(d) && d.Size > maxManifest {
			return nil, fmt.Errorf("%w: %s %s has %d bytes, the limit is %d", engine.ErrInvalid, d.MediaType, d.Digest, d.Size, maxManifest)
		}
		s.tellFound(ctx, d, tell)
		return nil, nil
	})
	get := remotes.FetchHandler(s.content, &progressFetcher{fetcher, tell})
	a := &arrivals{ready: map[digest.Digest]chan struct{}{}}
	// First what is small: then it is known what layers there are.
	h := images.Handlers(look, a.skipBlobs(images.Handlers(get, source)), s.childrenFor(match))
	if err := images.Dispatch(ctx, h, semaphore.NewWeighted(fetches), desc); err != nil {
		return out, err
	}
	runs, err := s.fetchLayers(ctx, desc, match, a, images.Handlers(get, source), tell)
	if err != nil {
		return out, err
	}
	old, err := s.images.Get(ctx, name)
	if err != nil && !errdefs.IsNotFound(err) {
		return out, err
	}
	if err := s.name(ctx, naming{name: name, target: desc, origin: pulled, foreign: !runs, keep: o.Keep}); err != nil {
		return out, err
	}
	return engine.Pulled{Record: engine.ImageRecord{Name: name, Target: desc}, Newer: old.Target.Digest != desc.Digest}, nil
}

// arrivals are the layers of a pull.
type arrivals struct {
	mu    sync.Mutex
	blobs []imagespec.Descriptor
	ready map[digest.Digest]chan struct{} // closed when the blob is here
}

// skipBlobs notes layers and hands the rest to h.
func (a *arrivals) skipBlobs(h images.Handler) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		if !isBlob(d) {
			return h.Handle(ctx, d)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.ready[d.Digest] == nil {
			a.ready[d.Digest] = make(chan struct{})
			a.blobs = append(a.blobs, d)
		}
		return nil, nil
	})
}

// wait returns when a blob is here.
func (a *arrivals) wait(ctx context.Context, d digest.Digest) error {
	ready, ok := a.ready[d]
	if !ok {
		return nil // not of this pull
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetchLayers fetches layers and unpacks each as soon as it is here, if the image
// runs here. What does not is kept as it is where a platform was asked for, or where
// it is an artifact.
func (s *Store) fetchLayers(ctx context.Context, desc imagespec.Descriptor, match platforms.MatchComparer, a *arrivals, get images.Handler, tell func(engine.PullProgress)) (runs bool, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		g, gctx := errgroup.WithContext(gctx)
		g.SetLimit(fetches)
		for _, d := range a.blobs {
			g.Go(func() error {
				if _, err := get.Handle(gctx, d); err != nil {
					return err
				}
				close(a.ready[d.Digest])
				return nil
			})
		}
		return g.Wait()
	})
	g.Go(func() error {
		m, err := images.Manifest(gctx, s.content, desc, match)
		if err != nil && !isNoPlatform(err) {
			return err
		}
		if err == nil && !images.IsConfigType(m.Config.MediaType) {
			return nil // an artifact
		}
		err = s.unpackAs(gctx, desc, unpacking{arrived: a.wait, tell: func(d imagespec.Descriptor, st engine.PullState) {
			tell(engine.PullProgress{Digest: d.Digest.String(), Total: d.Size, Description: "layer", State: st, Done: st == engine.StateComplete})
		}})
		if (errors.Is(err, errPlatform) || isNoPlatform(err)) && match != s.platform {
			return nil
		}
		runs = err == nil
		return err
	})
	err = g.Wait()
	return runs, err
}

// resolveError is a failure to find what a name points to; its words are those of
// the field.
type resolveError struct {
	name string
	err  error
}

func (e *resolveError) Error() string {
	return fmt.Sprintf("failed to resolve reference %q: %v", e.name, e.err)
}
func (e *resolveError) Unwrap() error { return e.err }

func isBlob(d imagespec.Descriptor) bool {
	return !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) && !images.IsConfigType(d.MediaType)
}

// tellFound tells that a layer is wanted, and whether it is here.
func (s *Store) tellFound(ctx context.Context, d imagespec.Descriptor, tell func(engine.PullProgress)) {
	if !isBlob(d) {
		return
	}
	pp := engine.PullProgress{Digest: d.Digest.String(), Total: d.Size, Description: "layer", State: engine.StateFound}
	if _, err := s.content.Info(ctx, d.Digest); err == nil {
		pp.State = engine.StateExists
	}
	tell(pp)
}

// progressFetcher tells how far each piece of content is.
type progressFetcher struct {
	remotes.Fetcher
	tell func(engine.PullProgress)
}

func (f *progressFetcher) Fetch(ctx context.Context, d imagespec.Descriptor) (io.ReadCloser, error) {
	r, err := f.Fetcher.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	pp := engine.PullProgress{Digest: d.Digest.String(), Total: d.Size, Description: "layer"}
	switch {
	case images.IsManifestType(d.MediaType), images.IsIndexType(d.MediaType):
		pp.Description = "manifest"
	case images.IsConfigType(d.MediaType):
		pp.Description = "config"
	}
	p := &progressReader{ReadCloser: r, pp: pp, tell: f.tell}
	if s, ok := r.(io.Seeker); ok {
		return &progressSeeker{progressReader: p, s: s}, nil
	}
	return p, nil
}

type progressReader struct {
	io.ReadCloser
	pp   engine.PullProgress
	tell func(engine.PullProgress)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.pp.Offset += int64(n)
	r.pp.Done = r.pp.Offset >= r.pp.Total
	if n > 0 {
		r.tell(r.pp)
	}
	return n, err
}

// progressSeeker goes on with a fetch that was cut off, from where it was.
type progressSeeker struct {
	*progressReader
	s     io.Seeker
	stuck int // failures since the last byte
}

// maxStuck is how many times a fetch is tried again that gets no further.
const maxStuck = 3

func (r *progressSeeker) Read(p []byte) (int, error) {
	n, err := r.progressReader.Read(p)
	if n > 0 {
		r.stuck = 0
	}
	if err == nil || !isCut(err) || r.stuck >= maxStuck {
		return n, err
	}
	r.stuck++
	// Another place and back: the library opens a new request for that alone.
	at := r.pp.Offset
	for _, to := range []int64{0, at} {
		if _, serr := r.s.Seek(to, io.SeekStart); serr != nil {
			return n, errors.Join(err, serr)
		}
	}
	return n, nil
}

// isCut tells an error of a connection that was there.
func isCut(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (r *progressSeeker) Seek(offset int64, whence int) (int64, error) {
	n, err := r.s.Seek(offset, whence)
	if err == nil {
		r.pp.Offset = n
	}
	return n, err
}

var errPlatform = errors.New("no image for this machine's platform")

// pullError says why a pull failed.
func pullError(ref string, err error) error {
	reason := engine.PullOther
	var status rerrors.ErrUnexpectedStatus
	var netErr net.Error
	code := 0
	if errors.As(err, &status) {
		code = status.StatusCode
	}
	switch {
	case errors.Is(err, errPlatform), isNoPlatform(err):
		reason = engine.PullPlatform
	case errors.Is(err, docker.ErrInvalidAuthorization), code == http.StatusUnauthorized, code == http.StatusForbidden:
		reason = engine.PullUnauthorized
	case code == http.StatusNotFound:
		reason = engine.PullNotFound
	case code >= 500:
		reason = engine.PullUnreachable
	case errors.Is(err, unix.ENOSPC):
		err = fmt.Errorf("%w: %w", engine.ErrNoSpace, err)
	case isCorrupt(err):
		reason = engine.PullCorrupt
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &netErr), errors.Is(err, io.EOF):
		reason = engine.PullUnreachable
	case errdefs.IsNotFound(err):
		reason = engine.PullNotFound
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		reason = engine.PullUnauthorized
	}
	return &engine.PullError{Ref: ref, Reason: reason, Err: err}
}
