package images

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func (a *Area) push(w http.ResponseWriter, r *route.Request) error {
	var ref reference.Named
	var err error
	if tag := r.Form.Get("tag"); tag != "" {
		ref, err = repoTag(r.Var("name"), tag)
	} else if ref, err = reference.ParseNormalizedNamed(r.Var("name")); err != nil {
		err = route.Invalid(err)
	}
	if err != nil {
		return err
	}
	o := engine.PushOptions{PullOptions: pullOptions(r.Header)}
	if r.Since("1.46") {
		if o.Platform, err = platform(r.Form.Get("platform")); err != nil {
			return err
		}
	}
	m := route.NewMessages(w)
	if err := m.Status("", "The push refers to repository [%s]", ref.Name()); err != nil {
		return err
	}
	return m.Fail(a.pushAll(r.Context(), ref, o, m))
}

// pushAll pushes one reference, or all tags of a name without one.
func (a *Area) pushAll(ctx context.Context, ref reference.Named, o engine.PushOptions, m *route.Messages) error {
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return err
	}
	if !reference.IsNameOnly(ref) {
		return a.pushOne(ctx, all, ref, o, m)
	}
	found := false
	for _, rec := range all {
		n, err := reference.ParseNormalizedNamed(rec.Name)
		if err != nil || n.Name() != ref.Name() {
			continue
		}
		if _, tagged := n.(reference.Tagged); !tagged {
			continue
		}
		found = true
		if err := a.pushOne(ctx, all, n, o, m); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("An image does not exist locally with the tag: " + reference.FamiliarName(ref)) //nolint:staticcheck // Docker's words
	}
	return nil
}

func (a *Area) pushOne(ctx context.Context, all []engine.ImageRecord, ref reference.Named, o engine.PushOptions, m *route.Messages) error {
	var rec *engine.ImageRecord
	for i := range all {
		if all[i].Name == ref.String() {
			rec = &all[i]
		}
	}
	if rec == nil {
		return errors.New("tag does not exist: " + reference.FamiliarString(ref))
	}
	p := &pushMessages{m: m, last: map[string]time.Time{}}
	o.Progress = p.tell
	var instead *auxprogress.ManifestPushedInsteadOfIndex
	o.Instead = func(index, manifest imagespec.Descriptor) {
		instead = &auxprogress.ManifestPushedInsteadOfIndex{ManifestPushedInsteadOfIndex: true, OriginalIndex: index, SelectedManifest: manifest}
	}
	target, err := a.o.Store.Push(ctx, ref.String(), o)
	if err != nil {
		return err
	}
	if instead != nil {
		if err := m.Aux("", instead); err != nil {
			return err
		}
	}
	a.tell(events.ActionPush, reference.FamiliarString(ref), reference.FamiliarName(ref), a.labels(ctx, *rec))
	if t, ok := ref.(reference.Tagged); ok {
		return m.Status("", "%s: digest: %s size: %d", t.Tag(), target.Digest, target.Size)
	}
	return nil
}

// pushMessages turns the progress of a push into Docker's messages.
type pushMessages struct {
	m    *route.Messages
	mu   sync.Mutex
	last map[string]time.Time
}

func (p *pushMessages) tell(pp engine.PullProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := short(pp.Digest)
	m := &jsonstream.Message{ID: id, Progress: &jsonstream.Progress{}}
	switch pp.State {
	case engine.StateExists:
		m.Status = "Layer already exists"
	case engine.StateMounted:
		m.Status = "Mounted from " + pp.From
		if n, err := reference.ParseNormalizedNamed(pp.From); err == nil {
			m.Status = "Mounted from " + reference.Path(n)
		}
	case engine.StatePushed:
		m.Status = "Pushed"
	default:
		now := time.Now()
		if now.Sub(p.last[id]) < progressEvery {
			return
		}
		p.last[id] = now
		m.Status, m.Progress = "Pushing", &jsonstream.Progress{Current: pp.Offset, Total: pp.Total}
	}
	_ = p.m.Send(m) // a client that is gone ends the request's context
}
