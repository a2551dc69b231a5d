package imagestore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	rerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
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
	img     *engine.Image
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

// Pull implements engine.Images. The work ends when nobody waits for it any more.
func (s *Store) Pull(ctx context.Context, ref string, o engine.PullOptions) (*engine.Image, error) {
	name, err := engine.NormalizeRef(ref)
	if err != nil {
		return nil, &engine.PullError{Ref: ref, Reason: engine.PullInvalidName, Err: err}
	}
	s.mu.Lock()
	p, running := s.pulls[name]
	if !running {
		p = &pull{done: make(chan struct{})}
		var work context.Context
		work, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.pulls[name] = p
		go func() {
			defer p.cancel()
			img, err := s.pull(s.context(work), name, o, p.tell)
			s.mu.Lock()
			p.img, p.err = img, err
			if s.pulls[name] == p {
				delete(s.pulls, name)
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
			if s.pulls[name] == p {
				delete(s.pulls, name) // the next caller begins anew
			}
		}
		s.mu.Unlock()
		return nil, &engine.PullError{Ref: ref, Reason: engine.PullOther, Err: ctx.Err()}
	}
	if p.err != nil {
		return nil, pullError(ref, p.err)
	}
	img := *p.img
	return &img, nil
}

// pull does the work of one pull.
func (s *Store) pull(ctx context.Context, name string, o engine.PullOptions, tell func(engine.PullProgress)) (*engine.Image, error) {
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return nil, err
	}
	img, err := s.fetch(leased, name, o, tell)
	done()
	if err != nil {
		return nil, errors.Join(err, s.collect(ctx))
	}
	return img, nil
}

func (s *Store) fetch(ctx context.Context, name string, o engine.PullOptions, tell func(engine.PullProgress)) (*engine.Image, error) {
	resolver := s.newResolver(o)
	resolved, desc, err := resolver.Resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	if desc.MediaType == images.MediaTypeDockerSchema1Manifest {
		return nil, fmt.Errorf("%w: an image of Docker's schema 1, which is no longer supported", errPlatform)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		return nil, err
	}
	h := images.Handlers(remotes.FetchHandler(s.content, &progressFetcher{fetcher, tell}), s.children())
	if err := images.Dispatch(ctx, h, semaphore.NewWeighted(fetches), desc); err != nil {
		return nil, err
	}
	if err := s.unpack(ctx, desc); err != nil {
		return nil, err
	}
	if err := s.name(ctx, name, desc, pulled); err != nil {
		return nil, err
	}
	s.use.RLock()
	defer s.use.RUnlock()
	return s.show(ctx, images.Image{Name: name, Target: desc})
}

// newResolver finds registries: https, and plain HTTP for localhost or where
// Insecure allows it, tried when https finds no TLS.
func (s *Store) newResolver(o engine.PullOptions) remotes.Resolver {
	dial := s.dialer.DialContext
	if o.Again {
		dial = s.dialer.Try
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          fetches,
		IdleConnTimeout:       10 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: o.Insecure},
	}
	client := &http.Client{Transport: t}
	plain := docker.MatchLocalhost
	if o.Insecure {
		client.Transport = docker.NewHTTPFallback(t)
		plain = func(string) (bool, error) { return false, nil }
	}
	auth := []docker.AuthorizerOpt{docker.WithAuthClient(client)}
	if o.Credentials != nil {
		auth = append(auth, docker.WithAuthCreds(o.Credentials))
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithClient(client), docker.WithPlainHTTP(plain), docker.WithAuthorizer(docker.NewDockerAuthorizer(auth...)))})
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
		return &progressSeeker{p, s}, nil
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

// progressSeeker keeps the ability to go on with a fetch that was cut off.
type progressSeeker struct {
	*progressReader
	s io.Seeker
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
