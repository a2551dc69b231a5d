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
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
)

// maxJSON bounds the manifests and indexes of a layout.
const maxJSON = 4 << 20

var _ engine.Archives = (*Store)(nil)

// Load implements engine.Images.
func (s *Store) Load(ctx context.Context, r io.Reader, name string) ([]*engine.Image, error) {
	recs, err := s.loading(ctx, loading{LoadOptions: engine.LoadOptions{Name: name}, strict: true}, s.readArchive(r))
	if err != nil {
		return nil, err
	}
	return s.showAll(ctx, recs)
}

// LoadWith implements engine.Archives.
func (s *Store) LoadWith(ctx context.Context, r io.Reader, o engine.LoadOptions) ([]engine.ImageRecord, error) {
	return s.loading(ctx, loading{LoadOptions: o}, s.readArchive(r))
}

// loading is how one load is done.
type loading struct {
	engine.LoadOptions
	// strict loads only what can run here, and refuses an archive without it.
	strict bool
}

func (s *Store) readArchive(r io.Reader) func(context.Context) ([]imagespec.Descriptor, error) {
	return func(ctx context.Context) ([]imagespec.Descriptor, error) {
		d, err := compression.DecompressStream(r)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		bounded, err := s.boundedBySpace(d)
		if err != nil {
			return nil, err
		}
		index, err := archive.ImportIndex(ctx, s.content, bounded)
		if err != nil {
			return nil, err
		}
		b, err := content.ReadBlob(ctx, s.content, index)
		if err != nil {
			return nil, err
		}
		return parseIndex(b)
	}
}

// showAll returns the images of records, each once.
func (s *Store) showAll(ctx context.Context, recs []engine.ImageRecord) ([]*engine.Image, error) {
	ctx = s.context(ctx)
	s.use.RLock()
	defer s.use.RUnlock()
	var out []*engine.Image
	seen := map[string]bool{}
	for _, r := range recs {
		img, err := s.show(ctx, images.Image{Target: r.Target})
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

// LoadDir implements engine.Images.
func (s *Store) LoadDir(ctx context.Context, dir, name string) ([]*engine.Image, error) {
	recs, err := s.loading(ctx, loading{LoadOptions: engine.LoadOptions{Name: name}, strict: true}, func(ctx context.Context) ([]imagespec.Descriptor, error) {
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
	if err != nil {
		return nil, err
	}
	return s.showAll(ctx, recs)
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
func (s *Store) loading(ctx context.Context, o loading, read func(context.Context) ([]imagespec.Descriptor, error)) ([]engine.ImageRecord, error) {
	ctx = s.context(ctx)
	if o.Name != "" {
		n, err := engine.NormalizeRef(o.Name)
		if err != nil {
			return nil, err
		}
		o.Name = n
	}
	leased, done, err := s.withLease(ctx)
	if err != nil {
		return nil, err
	}
	out, err := s.finishLoad(leased, o, read)
	done()
	if err != nil {
		return nil, errors.Join(loadError(err), s.collect(ctx))
	}
	return out, s.collect(ctx) // what the archive held beside its images
}

func (s *Store) finishLoad(ctx context.Context, o loading, read func(context.Context) ([]imagespec.Descriptor, error)) ([]engine.ImageRecord, error) {
	manifests, err := read(ctx)
	if err != nil {
		return nil, err
	}
	// All are unpacked before the first is named: an archive is loaded whole or not
	// at all.
	type ready struct {
		imagespec.Descriptor
		foreign bool
	}
	var all []ready
	for _, m := range manifests {
		if images.IsManifestType(m.MediaType) && m.Annotations[annotationType] != "" {
			continue // an attestation, not an image
		}
		here := m.Platform == nil || m.Platform.OS == "" || s.platform.Match(*m.Platform)
		if !here && o.strict {
			continue
		}
		if here && o.strict {
			err = s.verify(ctx, m)
		} else {
			here, err = s.verifyPresent(ctx, m, o.Platforms)
		}
		if err != nil {
			return nil, err
		}
		if here {
			if err := s.unpack(ctx, m); err != nil {
				return nil, err
			}
		}
		all = append(all, ready{m, !here})
	}
	if len(all) == 0 {
		return nil, errPlatform
	}
	var out []engine.ImageRecord
	for _, m := range all {
		r, err := s.nameLoaded(ctx, indexName(m.Annotations, o.Name), m.Descriptor, m.foreign, o.Keep)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// verifyPresent is verify of what is there, for all platforms; one that the caller
// wants must be. It tells whether it can run here.
func (s *Store) verifyPresent(ctx context.Context, m imagespec.Descriptor, want []imagespec.Platform) (here bool, err error) {
	if !images.IsManifestType(m.MediaType) && !images.IsIndexType(m.MediaType) {
		return false, fmt.Errorf("%w: %s is neither a manifest nor an index", engine.ErrInvalid, m.MediaType)
	}
	check := images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		info, err := s.content.Info(ctx, d.Digest)
		if errdefs.IsNotFound(err) && d.Digest != m.Digest {
			return nil, images.ErrSkipDesc
		}
		if err == nil && info.Size != d.Size {
			err = fmt.Errorf("%w: %s has %d bytes, not %d", engine.ErrCorrupt, d.Digest, info.Size, d.Size)
		}
		return nil, err
	})
	label := images.SetChildrenMappedLabels(s.content, images.ChildrenHandler(s.content), nil)
	if err := images.Dispatch(ctx, images.Handlers(check, label), nil, m); err != nil {
		return false, err
	}
	vs, err := s.Variants(ctx, m)
	if err != nil {
		return false, err
	}
	for _, p := range want {
		if !slices.ContainsFunc(vs, func(v engine.Variant) bool { return v.Available && platforms.Only(p).Match(v.Platform) }) {
			return false, fmt.Errorf("requested platform(s) ([%s]) not found: %w", platforms.FormatAll(p), engine.ErrNotFound)
		}
	}
	for _, v := range vs {
		if v.Image && s.platform.Match(platforms.Normalize(v.Platform)) {
			here = true
			if !v.Available && m.Digest == v.Descriptor.Digest {
				return false, fmt.Errorf("%w: content of %s is missing", engine.ErrCorrupt, m.Digest)
			}
			if v.Available {
				return true, nil
			}
		}
	}
	return false, nil
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

func (s *Store) nameLoaded(ctx context.Context, name string, m imagespec.Descriptor, foreign, keep bool) (engine.ImageRecord, error) {
	m.Platform = nil
	if name != "" {
		err := s.name(ctx, naming{name: name, target: m, origin: loaded, foreign: foreign, keep: keep})
		return engine.ImageRecord{Name: name, Target: m}, err
	}
	kept := images.Image{Name: unnamed + m.Digest.String(), Target: m, Labels: map[string]string{labelOrigin: loaded}}
	if foreign {
		kept.Labels[labelForeign] = "true"
	}
	err := s.keepUnlessNamed(ctx, kept)
	return engine.ImageRecord{Target: m}, err
}

// keepUnlessNamed makes the record of an image without a name, if it has no other.
func (s *Store) keepUnlessNamed(ctx context.Context, i images.Image) error {
	s.use.Lock()
	defer s.use.Unlock()
	all, err := s.images.List(ctx)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Target.Digest == i.Target.Digest && !isUnnamed(o.Name) {
			return nil
		}
	}
	return s.keepUnnamed(ctx, i, labelKeep)
}

// loadError makes an error of a closed set of what is wrong with an archive.
func loadError(err error) error {
	kind := engine.ErrInvalid
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, engine.ErrNoSpace):
		kind = engine.ErrNoSpace
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case isCorrupt(err):
		kind = engine.ErrCorrupt
	case errors.Is(err, engine.ErrNotFound):
		kind = engine.ErrNotFound
	}
	return &engine.ArchiveError{Kind: kind, Err: err}
}

// boundedBySpace reads r up to what the disk has free: an archive that unpacks to
// more is refused before it has filled the disk.
func (s *Store) boundedBySpace(r io.Reader) (io.Reader, error) {
	free, err := s.free()
	if err != nil {
		return nil, err
	}
	return &boundedReader{r: r, left: free, limit: free}, nil
}

type boundedReader struct {
	r           io.Reader
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: the archive unpacks to more than the %d bytes that are free", engine.ErrNoSpace, b.limit)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
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
	for _, t := range []string{"unexpected commit digest", "unexpected commit size", "failed size validation", "failed validation", "wrong diff id", "failed to extract layer", "invalid checksum", "exceeds expected size", "past expected size"} {
		if strings.Contains(text, t) {
			return true
		}
	}
	return false
}

func isNoPlatform(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(err.Error(), "no match for platform")
}
