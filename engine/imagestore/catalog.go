package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

var _ engine.Catalog = (*Store)(nil)

const (
	// labelDeleted marks an unnamed image that was removed while a container uses it:
	// nobody sees it, and Release deletes it.
	labelDeleted = "skiff.dev/deleted"
	// labelParent of a name is the digest of the image that this one was made of.
	labelParent = "skiff.dev/parent"
)

// maxNesting bounds indexes in indexes.
const maxNesting = 4

func isUnnamed(name string) bool { return strings.HasPrefix(name, unnamed) }

// Records implements engine.Catalog.
func (s *Store) Records(ctx context.Context) ([]engine.ImageRecord, error) {
	all, err := s.images.List(s.context(ctx))
	if err != nil {
		return nil, err
	}
	out := make([]engine.ImageRecord, 0, len(all))
	for _, i := range all {
		if i.Labels[labelDeleted] == "" {
			out = append(out, recordOf(i))
		}
	}
	slices.SortFunc(out, func(a, b engine.ImageRecord) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func recordOf(i images.Image) engine.ImageRecord {
	r := engine.ImageRecord{Name: i.Name, Target: i.Target, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt, Parent: digest.Digest(i.Labels[labelParent])}
	if isUnnamed(r.Name) {
		r.Name = ""
	}
	return r
}

// Tag implements engine.Catalog.
func (s *Store) Tag(ctx context.Context, target imagespec.Descriptor, name string) error {
	ctx = s.context(ctx)
	n, err := engine.NormalizeRef(name)
	if err != nil {
		return err
	}
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return err
	}
	defer done()
	all, err := s.images.List(leased)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Target.Digest == target.Digest && i.Labels[labelDeleted] == "" {
			origin := i.Labels[labelOrigin]
			if origin == "" {
				origin = loaded
			}
			return s.name(leased, naming{name: n, target: i.Target, origin: origin, parent: i.Labels[labelParent], foreign: i.Labels[labelForeign] != "", keep: true})
		}
	}
	return fmt.Errorf("image %s: %w", target.Digest, engine.ErrNotFound)
}

// Untag implements engine.Catalog.
func (s *Store) Untag(ctx context.Context, records []engine.ImageRecord, o engine.UntagOptions) error {
	ctx = s.context(ctx)
	s.use.Lock()
	defer s.use.Unlock()
	all, err := s.images.List(ctx)
	if err != nil {
		return err
	}
	going := map[string]bool{}
	for _, r := range records {
		if r.Name == "" {
			going[unnamed+r.Target.Digest.String()] = true
		} else {
			going[r.Name] = true
		}
	}
	last, found := map[digest.Digest]images.Image{}, 0
	for _, i := range all {
		if going[i.Name] {
			last[i.Target.Digest] = i
			found++
		}
	}
	if found < len(going) {
		return fmt.Errorf("image: %w", engine.ErrNotFound)
	}
	for _, i := range all {
		if !going[i.Name] && i.Labels[labelDeleted] == "" {
			delete(last, i.Target.Digest)
		}
	}
	for _, i := range last {
		if err := s.holdLast(ctx, i, o); err != nil {
			return err
		}
	}
	for name := range going {
		if i, ok := last[digest.Digest(strings.TrimPrefix(name, unnamed))]; ok && isUnnamed(name) && (o.Keep || i.Labels[labelDeleted] != "") {
			continue
		}
		if err := s.images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	s.forget()
	return s.collect(ctx)
}

// holdLast decides what stays of an image whose last record goes.
func (s *Store) holdLast(ctx context.Context, i images.Image, o engine.UntagOptions) error {
	used := false
	if u, err := s.load(ctx, i.Target); err == nil {
		var by string
		if by, used = s.inUse(u.id.String()); used && !o.Used {
			return fmt.Errorf("image %s is used by container %s: %w", i.Target.Digest, by, engine.ErrInUse)
		}
	}
	label := labelKeep
	switch {
	case o.Keep:
	case used:
		label = labelDeleted
	default:
		return nil
	}
	return s.keepUnnamed(ctx, i, label)
}

// keepUnnamed makes the record of an image without a name, or gives the one that is
// there its label.
func (s *Store) keepUnnamed(ctx context.Context, i images.Image, label string) error {
	kept := images.Image{Name: unnamed + i.Target.Digest.String(), Target: i.Target, Labels: map[string]string{label: "true"}}
	for _, l := range []string{labelParent, labelForeign} {
		if v := i.Labels[l]; v != "" {
			kept.Labels[l] = v
		}
	}
	_, err := s.images.Create(ctx, kept)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.images.Update(ctx, kept, "labels")
	}
	return err
}

// Variants implements engine.Catalog.
func (s *Store) Variants(ctx context.Context, target imagespec.Descriptor) ([]engine.Variant, error) {
	var out []engine.Variant
	err := s.variants(s.context(ctx), target, 0, &out)
	return out, err
}

func (s *Store) variants(ctx context.Context, d imagespec.Descriptor, depth int, out *[]engine.Variant) error {
	if !images.IsIndexType(d.MediaType) {
		v, err := s.variant(ctx, d)
		if err == nil {
			*out = append(*out, v)
		}
		return err
	}
	if depth >= maxNesting {
		return fmt.Errorf("%w: index %s is nested too deeply (limit %d)", engine.ErrInvalid, d.Digest, maxNesting)
	}
	b, err := content.ReadBlob(ctx, s.content, d)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	var index imagespec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return fmt.Errorf("%w: index %s: %w", engine.ErrCorrupt, d.Digest, err)
	}
	for _, m := range index.Manifests {
		if err := s.variants(ctx, m, depth+1, out); err != nil {
			return err
		}
	}
	return nil
}

const (
	annotationType   = "vnd.docker.reference.type"
	annotationDigest = "vnd.docker.reference.digest"
)

// variant reads one manifest as far as it is here.
func (s *Store) variant(ctx context.Context, d imagespec.Descriptor) (engine.Variant, error) {
	v := engine.Variant{Descriptor: d}
	if d.Annotations[annotationType] != "" {
		v.For = digest.Digest(d.Annotations[annotationDigest])
	}
	if d.Platform != nil {
		v.Platform = *d.Platform
	}
	v.Image = v.For == "" && (d.Platform == nil || d.Platform.OS != "unknown")
	b, err := content.ReadBlob(ctx, s.content, d)
	if errdefs.IsNotFound(err) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v.Manifest); err != nil {
		return v, fmt.Errorf("%w: manifest %s: %w", engine.ErrCorrupt, d.Digest, err)
	}
	v.ConfigID = v.Manifest.Config.Digest
	v.Image = v.Image && images.IsConfigType(v.Manifest.Config.MediaType)
	v.Available = true
	v.Blobs = append([]imagespec.Descriptor{d, v.Manifest.Config}, v.Manifest.Layers...)
	for _, c := range v.Blobs {
		info, err := s.content.Info(ctx, c.Digest)
		switch {
		case errdefs.IsNotFound(err):
			v.Available = false
		case err != nil:
			return v, err
		default:
			v.Content += info.Size
		}
	}
	if !v.Image {
		return v, nil
	}
	if v.Config, err = content.ReadBlob(ctx, s.content, v.Manifest.Config); err != nil {
		if errdefs.IsNotFound(err) {
			return v, nil
		}
		return v, err
	}
	var cfg imagespec.Image
	if err := json.Unmarshal(v.Config, &cfg); err != nil {
		return v, fmt.Errorf("%w: config %s: %w", engine.ErrCorrupt, v.ConfigID, err)
	}
	if d.Platform == nil {
		v.Platform = cfg.Platform
	}
	below := s.below(ctx, cfg.RootFS.DiffIDs)
	for i, chain := range identity.ChainIDs(slices.Clone(cfg.RootFS.DiffIDs)) {
		l := engine.VariantLayer{Chain: chain}
		snapshot := chain.String()
		if below != nil {
			snapshot = below[i]
		}
		us, err := s.snaps.Usage(ctx, snapshot)
		if err != nil && !errdefs.IsNotFound(err) {
			return v, err
		}
		l.Size = us.Size
		v.Chains = append(v.Chains, l)
	}
	return v, nil
}
