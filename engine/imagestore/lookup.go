package imagestore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Run is what a container needs of an image.
type Run struct {
	ID, Ref string
	Config  imagespec.Image
	Lower   []string // relative to Layers, the uppermost first
}

// Use finds an image for a container and calls made while nobody can take the
// image away; from made's return on, inUse must tell that it is used.
func (s *Store) Use(ctx context.Context, ref string, made func(Run) error) error {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	rec, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	u, err := s.load(ctx, rec[0].Target)
	if err != nil {
		return err
	}
	r := Run{ID: u.id.String(), Config: u.config, Lower: u.lower}
	for _, i := range rec {
		if d := digestRef(i.Name, i.Target.Digest); d != "" {
			r.Ref = d
			break
		}
	}
	return made(r)
}

func digestRef(name string, d digest.Digest) string {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil || strings.HasPrefix(name, unnamed) {
		return ""
	}
	return n.Name() + "@" + d.String()
}

// find returns the records that ref means: one by name, all of one image by id or
// digest.
func (s *Store) find(ctx context.Context, ref string) ([]images.Image, error) {
	norm, nerr := engine.NormalizeRef(ref)
	if nerr == nil {
		img, err := s.images.Get(ctx, norm)
		if err == nil {
			return []images.Image{img}, nil
		}
		if !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	all, err := s.images.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []images.Image
	var ids []digest.Digest
	for _, i := range all {
		match := nerr == nil && digestRef(i.Name, i.Target.Digest) == norm
		if !match && engine.IsImageID(ref) {
			// The id is the config's digest; Docker's is the manifest's.
			u, err := s.load(ctx, i.Target)
			prefix := strings.TrimPrefix(ref, "sha256:")
			match = err == nil && (strings.HasPrefix(u.id.Encoded(), prefix) || strings.HasPrefix(i.Target.Digest.Encoded(), prefix))
			if match && !slices.Contains(ids, u.id) {
				ids = append(ids, u.id)
			}
		}
		if match {
			out = append(out, i)
		}
	}
	if len(ids) > 1 {
		return nil, fmt.Errorf("%w: image id %s is the beginning of several", engine.ErrInvalid, ref)
	}
	if len(out) > 0 {
		return out, nil
	}
	if nerr != nil && !engine.IsImageID(ref) {
		return nil, nerr
	}
	return nil, fmt.Errorf("image %s: %w", ref, engine.ErrNotFound)
}

// Get implements engine.Images.
func (s *Store) Get(ctx context.Context, ref string) (*engine.Image, error) {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	recs, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, recs[0])
}

// show is the image of a record with all of its names.
func (s *Store) show(ctx context.Context, rec images.Image) (*engine.Image, error) {
	u, err := s.load(ctx, rec.Target)
	if err != nil {
		return nil, err
	}
	all, err := s.grouped(ctx)
	if err != nil {
		return nil, err
	}
	img := toImage(u, all[u.id])
	img.Digest = rec.Target.Digest.String()
	return img, nil
}

func (s *Store) grouped(ctx context.Context) (map[digest.Digest][]images.Image, error) {
	all, err := s.images.List(ctx)
	if err != nil {
		return nil, err
	}
	out := map[digest.Digest][]images.Image{}
	for _, rec := range all {
		u, err := s.load(ctx, rec.Target)
		if err != nil && rec.Labels[labelForeign] != "" {
			continue
		}
		if err != nil {
			s.tel.Log.Warn("image cannot be read", "name", rec.Name, "err", err)
			continue
		}
		out[u.id] = append(out[u.id], rec)
	}
	return out, nil
}

func toImage(u *unpacked, recs []images.Image) *engine.Image {
	img := &engine.Image{ID: u.id.String(), Size: u.size, Config: u.config}
	for _, r := range recs {
		img.Digest = r.Target.Digest.String()
		if img.CreatedAt = r.CreatedAt; u.config.Created != nil {
			img.CreatedAt = *u.config.Created
		}
		if strings.HasPrefix(r.Name, unnamed) {
			continue
		}
		// A name by digest is none that a person gave.
		if !strings.Contains(r.Name, "@") {
			img.Names = append(img.Names, r.Name)
		}
		if r.Labels[labelOrigin] == loaded {
			img.Loaded = append(img.Loaded, r.Name)
		}
		if d := digestRef(r.Name, r.Target.Digest); !slices.Contains(img.Digests, d) {
			img.Digests = append(img.Digests, d)
		}
	}
	slices.Sort(img.Names)
	slices.Sort(img.Digests)
	slices.Sort(img.Loaded)
	return img
}

// List implements engine.Images.
func (s *Store) List(ctx context.Context) ([]*engine.Image, error) {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	all, err := s.grouped(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]*engine.Image, 0, len(all))
	for _, recs := range all {
		u, err := s.load(ctx, recs[0].Target)
		if err != nil {
			return nil, err
		}
		out = append(out, toImage(u, recs))
	}
	slices.SortFunc(out, func(a, b *engine.Image) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
