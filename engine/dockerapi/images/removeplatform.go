package images

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/platforms"
	imagetypes "github.com/moby/moby/api/types/image"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// removePlatforms takes the content of single platforms out of an image, which keeps
// its names. An image that is nothing else goes as a whole.
func (a *Area) removePlatforms(ctx context.Context, name string, want []imagespec.Platform) ([]imagetypes.DeleteResponse, error) {
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return nil, err
	}
	_, same, err := references(all, name)
	if err != nil {
		return nil, err
	}
	target := same[0].Target
	out := []imagetypes.DeleteResponse{}
	for _, p := range want {
		done, err := a.removePlatform(ctx, name, target, p)
		if err != nil {
			return nil, fmt.Errorf("failed to delete platform %s for image %s: %w", platforms.Format(p), target.Digest, err)
		}
		out = append(out, done...)
	}
	return out, nil
}

func (a *Area) removePlatform(ctx context.Context, name string, target imagespec.Descriptor, p imagespec.Platform) ([]imagetypes.DeleteResponse, error) {
	vs, err := a.o.Store.Variants(ctx, target)
	if err != nil {
		return nil, err
	}
	v := fitting(present(vs), platforms.OnlyStrict(p))
	if v == nil {
		return nil, errNoPlatform(name, &p)
	}
	if v.Descriptor.Digest == target.Digest {
		return a.removeImage(ctx, name, true, true)
	}
	if err := a.o.Store.Drop(ctx, target, v.Descriptor.Digest); err != nil {
		if errors.Is(err, engine.ErrInUse) {
			return nil, route.Conflict(err)
		}
		return nil, err
	}
	return []imagetypes.DeleteResponse{{Deleted: v.Descriptor.Digest.String()}}, nil
}

// present are the variants whose manifest is here.
func present(vs []engine.Variant) []engine.Variant {
	var out []engine.Variant
	for _, v := range vs {
		if v.ConfigID != "" {
			out = append(out, v)
		}
	}
	return out
}
