package imagestore

import (
	"context"
	"fmt"
	"io"
	"maps"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/platforms"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

// Save implements engine.Archives.
func (s *Store) Save(ctx context.Context, w io.Writer, records []engine.ImageRecord, want []imagespec.Platform) error {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	opts := []archive.ExportOpt{archive.WithPlatform(anyPlatform(want)), archive.WithSkipMissing(s.content)}
	for _, r := range records {
		target := r.Target
		if len(want) == 1 {
			d, err := s.onePlatform(ctx, target, want[0])
			if err != nil {
				return err
			}
			target = d
		}
		target.Annotations = maps.Clone(target.Annotations)
		if r.Name != "" {
			opts = append(opts, archive.WithManifest(target, r.Name))
			continue
		}
		delete(target.Annotations, images.AnnotationImageName)
		delete(target.Annotations, imagespec.AnnotationRefName)
		opts = append(opts, archive.WithManifest(target))
	}
	return archive.Export(ctx, s.content, w, opts...)
}

// onePlatform is the manifest of a target for a platform.
func (s *Store) onePlatform(ctx context.Context, target imagespec.Descriptor, p imagespec.Platform) (imagespec.Descriptor, error) {
	vs, err := s.Variants(ctx, target)
	if err != nil {
		return target, err
	}
	match := platforms.OnlyStrict(p)
	for _, v := range vs {
		if v.Image && v.Available && match.Match(v.Platform) {
			return v.Descriptor, nil
		}
	}
	return target, fmt.Errorf("image with digest %s does not provide the specified platform (%s): %w", target.Digest, platforms.FormatAll(p), engine.ErrNotFound)
}

// anyPlatform takes those wanted, or all, and prefers the machine's.
func anyPlatform(want []imagespec.Platform) platforms.MatchComparer {
	if len(want) > 0 {
		return platforms.Ordered(want...)
	}
	return preferring{platforms.Default()}
}

type preferring struct{ platforms.MatchComparer }

func (preferring) Match(imagespec.Platform) bool { return true }
