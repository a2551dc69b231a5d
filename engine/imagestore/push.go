package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	rerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"skiff.dev/skiff/engine"
)

// pushes is how many pieces of content one push sends at a time.
const pushes = 5

// Push implements engine.Registries.
func (s *Store) Push(ctx context.Context, name string, o engine.PushOptions) (imagespec.Descriptor, error) {
	ctx = s.context(ctx)
	norm, err := engine.NormalizeRef(name)
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	defer done()
	rec, err := s.images.Get(leased, norm)
	if err != nil {
		if errdefs.IsNotFound(err) {
			err = fmt.Errorf("%w: tag does not exist: %s", engine.ErrNotFound, engine.FamiliarRef(norm))
		}
		return imagespec.Descriptor{}, err
	}
	target := rec.Target
	if o.Platform != nil {
		if target, err = s.onePlatform(leased, target, *o.Platform); err != nil {
			return target, err
		}
	}
	err = s.pushTo(leased, norm, target, o)
	if errdefs.IsNotFound(err) && images.IsIndexType(target.MediaType) && o.Platform == nil {
		// Not all that the index lists is here: what runs on this machine goes alone.
		one, perr := s.onePlatform(leased, target, platforms.DefaultSpec())
		if perr != nil {
			return target, perr
		}
		if err = s.pushTo(leased, norm, one, o); err == nil {
			if o.Instead != nil {
				o.Instead(target, one)
			}
			target = one
		}
	}
	if err != nil {
		return target, registryError(err)
	}
	// Later pushes of its layers to other repositories there need not send them.
	source, err := docker.AppendDistributionSourceLabel(s.content, norm)
	if err != nil {
		return target, err
	}
	return target, images.Dispatch(leased, images.Handlers(source, images.ChildrenHandler(s.content)), nil, target)
}

// pushTo sends target under name; the tag is set with the target alone.
func (s *Store) pushTo(ctx context.Context, name string, target imagespec.Descriptor, o engine.PushOptions) error {
	at := name
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		if _, digested := ref.(reference.Digested); !digested {
			at = name + "@" + target.Digest.String()
		}
	}
	tracker := docker.NewInMemoryTracker()
	pusher, err := s.newResolver(ctx, o.PullOptions, tracker).Pusher(ctx, at)
	if err != nil {
		return err
	}
	if o.Progress != nil {
		pusher = &progressPusher{Pusher: pusher, tracker: tracker, tell: o.Progress}
	}
	return remotes.PushContent(ctx, pusher, target, s.content, semaphore.NewWeighted(pushes), platforms.All, nil)
}

// progressPusher tells how far each layer is.
type progressPusher struct {
	remotes.Pusher
	tracker docker.StatusTracker
	tell    func(engine.PullProgress)
	mu      sync.Mutex
}

func (p *progressPusher) say(pp engine.PullProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(pp)
}

func (p *progressPusher) Push(ctx context.Context, d imagespec.Descriptor) (content.Writer, error) {
	if !isBlob(d) {
		return p.Pusher.Push(ctx, d)
	}
	pp := engine.PullProgress{Digest: d.Digest.String(), Total: d.Size, Description: "layer", State: engine.StatePushing}
	w, err := p.Pusher.Push(ctx, d)
	switch {
	case errdefs.IsAlreadyExists(err):
		pp.State, pp.Done, pp.Offset = engine.StateExists, true, d.Size
		if st, serr := p.tracker.GetStatus(remotes.MakeRefKey(ctx, d)); serr == nil && st.MountedFrom != "" {
			pp.State, pp.From = engine.StateMounted, st.MountedFrom
		}
		p.say(pp)
		return nil, err
	case err != nil:
		return nil, err
	}
	p.say(pp)
	return &progressWriter{Writer: w, p: p, pp: pp}, nil
}

type progressWriter struct {
	content.Writer
	p  *progressPusher
	pp engine.PullProgress
}

func (w *progressWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.pp.Offset += int64(n)
	w.p.say(w.pp)
	return n, err
}

func (w *progressWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	err := w.Writer.Commit(ctx, size, expected, opts...)
	if err == nil || errdefs.IsAlreadyExists(err) {
		w.pp.State, w.pp.Done = engine.StatePushed, true
		w.p.say(w.pp)
	}
	return err
}

// registryError gives an answer of a registry the words that clients know.
func registryError(err error) error {
	var list docker.Errors
	var one docker.Error
	var status rerrors.ErrUnexpectedStatus
	switch {
	case errors.As(err, &list):
	case errors.As(err, &status):
		if json.Unmarshal(status.Body, &list) != nil {
			return fmt.Errorf("unknown: %w", err)
		}
		var old struct {
			Details string `json:"details"`
		}
		if len(list) == 0 && json.Unmarshal(status.Body, &old) == nil && old.Details != "" {
			switch status.StatusCode {
			case http.StatusUnauthorized:
				return errdefs.ErrUnauthenticated.WithMessage(docker.ErrorCodeUnauthorized.Message() + " - " + old.Details)
			case http.StatusForbidden:
				return errdefs.ErrPermissionDenied.WithMessage(docker.ErrorCodeDenied.Message() + " - " + old.Details)
			}
		}
	case errors.As(err, &one):
		list = docker.Errors{one}
	default:
		return err
	}
	var errs []error
	for _, e := range list {
		var d docker.Error
		if !errors.As(e, &d) {
			errs = append(errs, errdefs.ErrUnknown.WithMessage(e.Error()))
			continue
		}
		text := d.Message
		if text == "" {
			text = d.Code.Message()
		}
		if detail, ok := d.Detail.(string); ok {
			text += " - " + detail
		}
		kind := errdefs.ErrUnknown.WithMessage(text)
		switch d.Code {
		case docker.ErrorCodeUnsupported:
			kind = errdefs.ErrNotImplemented.WithMessage(text)
		case docker.ErrorCodeUnauthorized:
			kind = errdefs.ErrUnauthenticated.WithMessage(text)
		case docker.ErrorCodeDenied:
			kind = errdefs.ErrPermissionDenied.WithMessage(text)
		case docker.ErrorCodeUnavailable:
			kind = errdefs.ErrUnavailable.WithMessage(text)
		}
		errs = append(errs, kind)
	}
	if len(errs) == 0 {
		return fmt.Errorf("unknown: %w", err)
	}
	return fmt.Errorf("error from registry: %w", errors.Join(errs...))
}
