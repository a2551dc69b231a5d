package imagestore

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Parts are the store's insides for a builder that keeps its layers here, so that
// what it makes is an image at once. All but Raw wants the context of Context. What
// is added needs a lease of Leases, or it is collected.
type Parts struct {
	Namespace, Snapshotter string
	Content                content.Store
	Snapshots              snapshots.Snapshotter
	Leases                 leases.Manager
	DB                     *metadata.DB
}

// Parts returns the insides; they are valid until Close.
func (s *Store) Parts() Parts {
	return Parts{Namespace: namespace, Snapshotter: snapshotter, Content: s.content, Snapshots: s.snaps, Leases: s.leases, DB: s.db}
}

// Context is what the parts want: the namespace, and silence.
func (s *Store) Context(ctx context.Context) context.Context { return s.context(ctx) }

// Working keeps content that is begun and not finished until done is called.
func (s *Store) Working() (done func()) {
	s.working.RLock()
	return func() {
		s.working.RUnlock()
		s.dropIngests()
	}
}

// Resolve finds what ref means here: a name, an id or a digest.
func (s *Store) Resolve(ctx context.Context, ref string) (images.Image, error) {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	recs, err := s.find(ctx, ref)
	if err != nil {
		return images.Image{}, err
	}
	return recs[0], nil
}

// Named lists all names as the libraries keep them.
func (s *Store) Named(ctx context.Context) ([]images.Image, error) {
	return s.images.List(s.context(ctx))
}

// Adopt makes an image of content and a committed snapshot that are in the store
// and that the caller holds by a lease: target is its manifest or index, top the
// snapshot of its uppermost layer, "" where it has no layers or is an image of the
// store already. It gets the names, which may have been others'; without any it is
// kept until it is removed by its id.
func (s *Store) Adopt(ctx context.Context, target imagespec.Descriptor, top string, names []string) error {
	for i, n := range names {
		var err error
		if names[i], err = engine.NormalizeRef(n); err != nil {
			return err
		}
	}
	if s.adopted(s.context(ctx), target, names) {
		return nil
	}
	leased, done, err := s.withLease(s.context(ctx))
	if err != nil {
		return err
	}
	defer done()
	if err := s.adopt(leased, target, top); err != nil {
		return fmt.Errorf("take in image %s: %w", target.Digest, err)
	}
	target.Annotations, target.Platform = nil, nil
	for _, n := range names {
		if err := s.name(leased, naming{name: n, target: target, origin: loaded, keep: true}); err != nil {
			return fmt.Errorf("name image %s: %w", n, err)
		}
	}
	if len(names) > 0 {
		return nil
	}
	s.use.Lock()
	defer s.use.Unlock()
	all, err := s.images.List(leased)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(i images.Image) bool { return i.Target.Digest == target.Digest }) {
		return nil
	}
	_, err = s.images.Create(leased, images.Image{Name: unnamed + target.Digest.String(), Target: target, Labels: map[string]string{labelKeep: "true"}})
	return err
}

// adopted tells that the names are the image's already: nothing is to be written.
func (s *Store) adopted(ctx context.Context, target imagespec.Descriptor, names []string) bool {
	s.use.RLock()
	defer s.use.RUnlock()
	for _, n := range names {
		if i, err := s.images.Get(ctx, n); err != nil || i.Target.Digest != target.Digest || i.Labels[labelOrigin] != loaded {
			return false
		}
	}
	// Of an image that can be read the view is there.
	_, err := s.load(ctx, target)
	return err == nil && len(names) > 0
}

// adopt gives the image the view by which containers find its directories. Nothing
// is unpacked: the view stands on the builder's snapshot and keeps it.
func (s *Store) adopt(ctx context.Context, target imagespec.Descriptor, top string) error {
	m, cfg, err := s.read(ctx, target)
	if err != nil {
		return err
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("%w: %d layers but %d diff ids", engine.ErrCorrupt, len(m.Layers), len(cfg.RootFS.DiffIDs))
	}
	if top == "" {
		return nil
	}
	// While names and content are taken away a view that is there could go.
	s.use.RLock()
	defer s.use.RUnlock()
	view := viewOf(identity.ChainID(slices.Clone(cfg.RootFS.DiffIDs)).String())
	if _, err := s.snaps.View(ctx, view, top); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	_, err = s.content.Update(ctx, content.Info{Digest: m.Config.Digest, Labels: map[string]string{labelView: view}}, "labels."+labelView)
	return err
}

// below lists the snapshots of an image's layers, the lowest first: those that the
// image's view stands on, which a builder may have named otherwise than by their
// chain. It is nil where the image is not unpacked.
func (s *Store) below(ctx context.Context, diffs []digest.Digest) []string {
	if len(diffs) == 0 {
		return nil
	}
	info, err := s.snaps.Stat(ctx, viewOf(identity.ChainID(slices.Clone(diffs)).String()))
	var out []string
	for err == nil && info.Parent != "" && len(out) <= len(diffs) {
		out = append(out, info.Parent)
		info, err = s.snaps.Stat(ctx, info.Parent)
	}
	if err != nil || len(out) != len(diffs) {
		return nil
	}
	slices.Reverse(out)
	return out
}

// Collect deletes what nothing refers to.
func (s *Store) Collect(ctx context.Context) error {
	s.use.Lock()
	defer s.use.Unlock()
	s.forget()
	return s.collect(s.context(ctx))
}
