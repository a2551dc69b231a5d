package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
)

// maxJSON bounds the manifests and indexes of a layout.
const maxJSON = 4 << 20

// Load implements engine.Images.
func (s *Store) Load(ctx context.Context, r io.Reader, name string) ([]*engine.Image, error) {
	return s.loading(ctx, name, func(ctx context.Context) ([]imagespec.Descriptor, error) {
		d, err := compression.DecompressStream(r)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		index, err := archive.ImportIndex(ctx, s.content, d)
		if err != nil {
			return nil, err
		}
		b, err := content.ReadBlob(ctx, s.content, index)
		if err != nil {
			return nil, err
		}
		return parseIndex(b)
	})
}

// LoadDir implements engine.Images.
func (s *Store) LoadDir(ctx context.Context, dir, name string) ([]*engine.Image, error) {
	return s.loading(ctx, name, func(ctx context.Context) ([]imagespec.Descriptor, error) {
		// A root keeps symbolic links from leading out of the layout.
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		b, err := readLimited(root, imagespec.ImageIndexFile)
		if err != nil {
			return nil, fmt.Errorf("%s is no OCI layout: %w", dir, err)
		}
		top, err := parseIndex(b)
		if err != nil {
			return nil, err
		}
		copyBlob := images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
			return nil, s.copyBlob(ctx, root, d)
		})
		return top, images.Dispatch(ctx, images.Handlers(copyBlob, s.children()), nil, top...)
	})
}

func readLimited(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(b) > maxJSON {
		err = fmt.Errorf("%s is too long", name)
	}
	return b, err
}

// copyBlob takes one blob of a layout into the store, which verifies its digest.
func (s *Store) copyBlob(ctx context.Context, root *os.Root, d imagespec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return err
	}
	f, err := root.Open(path.Join("blobs", d.Digest.Algorithm().String(), d.Digest.Encoded()))
	if err != nil {
		return err
	}
	defer f.Close()
	err = content.WriteBlob(ctx, s.content, "layout-"+d.Digest.String(), f, d)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// parseIndex reads the manifests that an index names.
func parseIndex(b []byte) ([]imagespec.Descriptor, error) {
	var index imagespec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if len(index.Manifests) == 0 {
		return nil, errors.New("the index names no images")
	}
	for _, m := range index.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("index: digest %q: %w", m.Digest, err)
		}
	}
	return index.Manifests, nil
}

// loading runs read, which brings content in and returns the manifests, then
// unpacks and names them. Of what fails nothing stays.
func (s *Store) loading(ctx context.Context, name string, read func(context.Context) ([]imagespec.Descriptor, error)) ([]*engine.Image, error) {
	ctx = s.context(ctx)
	if name != "" {
		n, err := engine.NormalizeRef(name)
		if err != nil {
			return nil, err
		}
		name = n
	}
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return nil, err
	}
	out, err := s.finishLoad(leased, name, read)
	done()
	if err != nil {
		return nil, errors.Join(loadError(err), s.collect(ctx))
	}
	return out, s.collect(ctx) // what the archive held beside its images
}

func (s *Store) finishLoad(ctx context.Context, name string, read func(context.Context) ([]imagespec.Descriptor, error)) ([]*engine.Image, error) {
	manifests, err := read(ctx)
	if err != nil {
		return nil, err
	}
	// All are unpacked before the first is named: an archive is loaded whole or not
	// at all.
	var ready []imagespec.Descriptor
	for _, m := range manifests {
		if m.Platform != nil && m.Platform.OS != "" && !s.platform.Match(*m.Platform) {
			continue
		}
		if images.IsManifestType(m.MediaType) && m.Annotations["vnd.docker.reference.type"] != "" {
			continue // an attestation, not an image
		}
		if err := s.verify(ctx, m); err != nil {
			return nil, err
		}
		if err := s.unpack(ctx, m); err != nil {
			return nil, err
		}
		ready = append(ready, m)
	}
	if len(ready) == 0 {
		return nil, errPlatform
	}
	for _, m := range ready {
		if err := s.nameLoaded(ctx, indexName(m.Annotations, name), m); err != nil {
			return nil, err
		}
	}
	s.use.RLock()
	defer s.use.RUnlock()
	var out []*engine.Image
	seen := map[string]bool{}
	for _, m := range ready {
		img, err := s.show(ctx, images.Image{Target: m})
		if err != nil {
			return nil, err
		}
		if !seen[img.ID] {
			seen[img.ID] = true
			out = append(out, img)
		}
	}
	return out, nil
}

// verify walks an image's content: all that it refers to must be there, in the
// size that it says, and gets the labels that keep it.
func (s *Store) verify(ctx context.Context, m imagespec.Descriptor) error {
	check := images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		info, err := s.content.Info(ctx, d.Digest)
		if err != nil {
			return nil, err
		}
		if info.Size != d.Size {
			return nil, fmt.Errorf("%w: %s has %d bytes, not %d", engine.ErrCorrupt, d.Digest, info.Size, d.Size)
		}
		return nil, nil
	})
	return images.Dispatch(ctx, images.Handlers(check, s.children()), nil, m)
}

var bareTag = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)

// indexName is the name that an index gives an image; fallback, which is
// normalised, where it gives none or only a tag. "" is none.
func indexName(annotations map[string]string, fallback string) string {
	if n, err := engine.NormalizeRef(annotations[images.AnnotationImageName]); err == nil {
		return n
	}
	ref := annotations[imagespec.AnnotationRefName]
	if ref == "" || bareTag.MatchString(ref) {
		return fallback
	}
	if n, err := engine.NormalizeRef(ref); err == nil && strings.ContainsAny(ref, ":/") {
		return n
	}
	return fallback
}

func (s *Store) nameLoaded(ctx context.Context, name string, m imagespec.Descriptor) error {
	if name != "" {
		return s.name(ctx, name, m, loaded)
	}
	m.Annotations, m.Platform = nil, nil
	_, err := s.images.Create(ctx, images.Image{Name: unnamed + m.Digest.String(), Target: m, Labels: map[string]string{labelKeep: "true"}})
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// loadError makes an error of a closed set of what is wrong with an archive.
func loadError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("load image: %w: %w", engine.ErrNoSpace, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, engine.ErrCorrupt):
		return fmt.Errorf("load image: %w", err)
	case isCorrupt(err):
		return fmt.Errorf("load image: %w: %w", engine.ErrCorrupt, err)
	}
	return fmt.Errorf("load image: %w: %w", engine.ErrInvalid, err)
}

// isCorrupt tells errors of content that is not what it should be. The libraries
// have no types for them all.
func isCorrupt(err error) bool {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	if errors.Is(err, engine.ErrCorrupt) || errors.As(err, &syntax) || errors.As(err, &typ) {
		return true
	}
	text := err.Error()
	for _, t := range []string{"unexpected commit digest", "unexpected commit size", "failed size validation", "failed validation", "wrong diff id", "failed to extract layer", "invalid checksum"} {
		if strings.Contains(text, t) {
			return true
		}
	}
	return false
}

func isNoPlatform(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(err.Error(), "no match for platform")
}
