package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) create(w http.ResponseWriter, r *route.Request) error {
	var want *imagespec.Platform
	if text := r.Form.Get("platform"); text != "" && r.Since("1.32") {
		p, err := platforms.Parse(text)
		if err != nil {
			return route.Invalid(err)
		}
		want = &p
	}
	if from := r.Form.Get("fromImage"); from != "" {
		ref, err := pullReference(from, r.Form.Get("tag"))
		if err != nil {
			return err
		}
		m := route.NewMessages(w)
		return m.Fail(a.pull(r, ref, want, m))
	}
	return a.importImage(w, r, want)
}

// pullReference is what fromImage and tag mean together; the tag may be a digest.
func pullReference(from, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(strings.TrimSuffix(from, ":"))
	if err != nil {
		return nil, route.Invalid(err)
	}
	if tag != "" {
		if d, derr := digest.Parse(tag); derr == nil {
			ref, err = reference.WithDigest(reference.TrimNamed(ref), d)
		} else {
			ref, err = reference.WithTag(ref, tag)
		}
		if err != nil {
			return nil, route.Invalid(err)
		}
	}
	if reference.FamiliarName(ref) == "scratch" {
		return nil, route.Forbidden(errors.New("'scratch' is a reserved name"))
	}
	return ref, nil
}

// pull pulls one reference, or all tags of a name without one.
func (a *Area) pull(r *route.Request, ref reference.Named, want *imagespec.Platform, m *route.Messages) error {
	o := pullOptions(r.Header)
	o.Platform = want
	if !reference.IsNameOnly(ref) {
		return a.pullOne(r.Context(), ref, o, m)
	}
	tags, err := a.o.Store.RemoteTags(r.Context(), ref.Name(), o)
	if err != nil {
		return remoteError(err)
	}
	for _, t := range tags {
		tagged, err := reference.WithTag(ref, t)
		if err != nil {
			continue // no name that anybody could give
		}
		if err := a.pullOne(r.Context(), tagged, o, m); err != nil {
			return fmt.Errorf("error pulling %s: %w", tagged, err)
		}
	}
	return nil
}

func (a *Area) pullOne(ctx context.Context, ref reference.Named, o engine.PullOptions, m *route.Messages) error {
	p := &pullMessages{m: m, ref: ref, last: map[string]time.Time{}}
	o.Progress = p.tell
	out, err := a.o.Store.PullWith(ctx, ref.String(), o)
	p.close()
	if err != nil {
		return pullError(ref, o.Platform, err)
	}
	p.begin()
	id := out.Record.Target.Digest.String()
	familiar := reference.FamiliarString(ref)
	a.tell(events.ActionPull, familiar, reference.FamiliarName(ref), a.labels(ctx, out.Record))
	if err := m.Status("", "Digest: %s", id); err != nil {
		return err
	}
	if out.Newer {
		return m.Status("", "Status: Downloaded newer image for %s", familiar)
	}
	return m.Status("", "Status: Image is up to date for %s", familiar)
}

// pullError gives a failed pull Docker's words and status.
func pullError(ref reference.Named, want *imagespec.Platform, err error) error {
	var pe *engine.PullError
	if !errors.As(err, &pe) {
		return err
	}
	cause := pe.Err
	switch pe.Reason {
	case engine.PullInvalidName:
		return route.Invalid(cause)
	case engine.PullNotFound:
		return route.NotFound(cause)
	case engine.PullPlatform:
		p := platforms.DefaultSpec()
		if want != nil {
			p = *want
		}
		return route.NotFoundf("no matching manifest for %s in the manifest list entries: %v", platforms.FormatAll(p), cause)
	case engine.PullUnauthorized:
		if text := cause.Error(); !strings.Contains(text, "no basic auth credentials") && strings.Contains(text, "authorization failed") {
			return route.NotFoundf("pull access denied for %s, repository does not exist or may require 'docker login'", reference.FamiliarName(ref))
		}
	}
	return route.Internal(cause)
}

// remoteError gives an error of asking a registry its kind.
func remoteError(err error) error {
	switch {
	case errors.Is(err, engine.ErrInvalid), errors.Is(err, cerrdefs.ErrInvalidArgument):
		return route.Invalid(err)
	case errors.Is(err, cerrdefs.ErrNotFound):
		return route.NotFound(err)
	case errors.Is(err, cerrdefs.ErrUnauthenticated):
		return route.Unauthorized(err)
	case errors.Is(err, cerrdefs.ErrPermissionDenied):
		return route.Forbidden(err)
	}
	return route.Internal(err)
}

// progressEvery is how often the progress of one layer is told.
const progressEvery = 100 * time.Millisecond

// pullMessages turns the progress of a pull into Docker's messages.
type pullMessages struct {
	m   *route.Messages
	ref reference.Named

	mu     sync.Mutex
	begun  bool
	closed bool
	held   []string // layers that are here, told when another is not
	wanted bool
	last   map[string]time.Time
}

func (p *pullMessages) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beginLocked()
}

func (p *pullMessages) beginLocked() {
	if p.begun {
		return
	}
	p.begun = true
	at := p.ref.String()
	if t, ok := p.ref.(reference.Tagged); ok {
		at = t.Tag()
	}
	p.send(&jsonstream.Message{ID: at, Status: "Pulling from " + reference.Path(p.ref)})
}

// send forgets errors: a client that is gone ends the request's context.
func (p *pullMessages) send(m *jsonstream.Message) { _ = p.m.Send(m) }

// close lets nothing through any more: the pull may go on for others.
func (p *pullMessages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func (p *pullMessages) update(id, status string) {
	p.send(&jsonstream.Message{ID: id, Status: status, Progress: &jsonstream.Progress{}})
}

func (p *pullMessages) tell(pp engine.PullProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.beginLocked()
	if pp.Description != "layer" {
		return
	}
	id := short(pp.Digest)
	switch pp.State {
	case engine.StateExists:
		if !p.wanted {
			p.held = append(p.held, id)
			return
		}
		p.update(id, "Already exists")
	case engine.StateFound:
		if !p.wanted {
			p.wanted = true
			for _, h := range p.held {
				p.update(h, "Already exists")
			}
		}
		p.update(id, "Pulling fs layer")
	case engine.StateFetching:
		if pp.Done {
			p.update(id, "Download complete")
			return
		}
		if now := time.Now(); now.Sub(p.last[id]) >= progressEvery {
			p.last[id] = now
			p.send(&jsonstream.Message{ID: id, Status: "Downloading", Progress: &jsonstream.Progress{Current: pp.Offset, Total: pp.Total}})
		}
	case engine.StateExtracting:
		if p.wanted {
			p.send(&jsonstream.Message{ID: id, Status: "Extracting", Progress: &jsonstream.Progress{Current: 1, Units: "s"}})
		}
	case engine.StateComplete:
		if p.wanted {
			p.update(id, "Pull complete")
		}
	}
}

func (a *Area) distribution(w http.ResponseWriter, r *route.Request) error {
	name := r.Var("name")
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return route.Invalid(err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return route.Internalf("no manifest found for full image ID")
	}
	d, manifest, cfg, err := a.o.Store.RemoteManifest(r.Context(), named.String(), pullOptions(r.Header))
	if err != nil {
		return remoteError(err)
	}
	out, err := distributed(d, manifest, cfg)
	if err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, out)
}
