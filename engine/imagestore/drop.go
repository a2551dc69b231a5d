package imagestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Blob implements engine.Catalog.
func (s *Store) Blob(ctx context.Context, d imagespec.Descriptor) ([]byte, error) {
	if d.Size > maxManifest {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", engine.ErrInvalid, d.Digest, d.Size, maxManifest)
	}
	b, err := content.ReadBlob(s.context(ctx), s.content, d)
	switch {
	case errdefs.IsNotFound(err):
		return nil, fmt.Errorf("content %s: %w", d.Digest, engine.ErrNotFound)
	case err != nil:
		return nil, err
	case !verified(d.Digest, b):
		return nil, fmt.Errorf("content %s: %w", d.Digest, engine.ErrCorrupt)
	}
	return b, nil
}

// Drop implements engine.Catalog.
func (s *Store) Drop(ctx context.Context, target imagespec.Descriptor, manifest digest.Digest) error {
	ctx = s.context(ctx)
	s.use.Lock()
	defer s.use.Unlock()
	all, err := s.images.List(ctx)
	if err != nil {
		return err
	}
	var going *engine.Variant
	stays, seen := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, i := range all {
		if seen[i.Target.Digest] {
			continue
		}
		seen[i.Target.Digest] = true
		vs, err := s.Variants(ctx, i.Target)
		if err != nil {
			return err
		}
		for _, v := range vs {
			switch {
			case v.Descriptor.Digest != manifest:
				for _, b := range v.Blobs {
					stays[b.Digest] = true
				}
			case i.Target.Digest == target.Digest:
				going = &v
			}
		}
	}
	if going == nil || going.ConfigID == "" {
		return fmt.Errorf("manifest %s of image %s: %w", manifest, target.Digest, engine.ErrNotFound)
	}
	if by, used := s.inUse(going.ConfigID.String()); used {
		return fmt.Errorf("image %s is used by container %s: %w", manifest, by, engine.ErrInUse)
	}
	for _, b := range going.Blobs {
		if stays[b.Digest] {
			continue
		}
		if err := s.content.Delete(ctx, b.Digest); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	s.forget()
	return errors.Join(s.markForeign(ctx, all), s.collect(ctx))
}

// markForeign notes which images cannot run here any more.
func (s *Store) markForeign(ctx context.Context, all []images.Image) error {
	for _, i := range all {
		if i.Labels[labelForeign] != "" {
			continue
		}
		if _, _, err := s.read(ctx, i.Target); err == nil || !errdefs.IsNotFound(err) {
			continue
		}
		i.Labels = map[string]string{labelForeign: "true"}
		if _, err := s.images.Update(ctx, i, "labels."+labelForeign); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}
