package build

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"errors"

	"skiff.dev/skiff/engine"
)

// imageNames shows BuildKit the names of the image store. BuildKit does not write
// them: imageExporter does.
type imageNames struct{ store Store }

var _ images.Store = (*imageNames)(nil)

// Get finds an image by its normalised name, and by an id where the name is what
// normalising made of one: FROM takes both.
func (n *imageNames) Get(ctx context.Context, name string) (images.Image, error) {
	img, err := n.store.Resolve(ctx, name)
	if !errors.Is(err, engine.ErrNotFound) {
		return img, err
	}
	if id, ok := idOf(name); ok {
		if img, err := n.store.Resolve(ctx, id); err == nil {
			return img, nil
		}
	}
	return images.Image{}, fmt.Errorf("image %s: %w", name, errdefs.ErrNotFound)
}

// idOf is the image id, or the beginning of one, that was normalised to a name.
func idOf(name string) (string, bool) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil || reference.Domain(ref) != "docker.io" {
		return "", false
	}
	id, ok := strings.CutPrefix(reference.Path(ref), "library/")
	if t, tagged := ref.(reference.Tagged); tagged && t.Tag() != "latest" {
		// "sha256:..." looks like a name and a tag.
		_, err := hex.DecodeString(t.Tag())
		if id == "sha256" && err == nil {
			return "sha256:" + t.Tag(), true
		}
		return "", false
	}
	return id, ok && engine.IsImageID(id)
}

func (n *imageNames) List(ctx context.Context, _ ...string) ([]images.Image, error) {
	return n.store.Named(ctx)
}

var errReadOnly = fmt.Errorf("names are given by the image store: %w", errdefs.ErrNotImplemented)

func (n *imageNames) Create(context.Context, images.Image) (images.Image, error) {
	return images.Image{}, errReadOnly
}

func (n *imageNames) Update(context.Context, images.Image, ...string) (images.Image, error) {
	return images.Image{}, errReadOnly
}

func (n *imageNames) Delete(context.Context, string, ...images.DeleteOpt) error { return errReadOnly }
