package engine

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Catalog is an optional ability of Images: the store name by name, with what each
// name points to, as Docker with its containerd image store shows it. An image's
// identity here is the digest of its manifest or index, and images for other
// platforms than the machine's, artifacts and attestations are in it too.
type Catalog interface {
	// Records are all names in order, and what was kept without one.
	Records(ctx context.Context) ([]ImageRecord, error)
	// Variants are the manifests that a target consists of: itself, or what an index
	// lists, also those whose content is not here.
	Variants(ctx context.Context, target imagespec.Descriptor) ([]Variant, error)
	// Tag gives target a further name. What the name pointed to before stays, without
	// a name if it was its last.
	Tag(ctx context.Context, target imagespec.Descriptor, name string) error
	// Untag takes records away, and what nothing refers to then. A record that is the
	// last of an image that a container uses is refused with ErrInUse, unless o allows
	// it; its content stays until the container is gone in any case.
	Untag(ctx context.Context, records []ImageRecord, o UntagOptions) error
	// Drop deletes the content of one manifest that target, an index, lists; what other
	// images consist of stays. It is refused with ErrInUse while a container uses it.
	Drop(ctx context.Context, target imagespec.Descriptor, manifest digest.Digest) error
	// Blob reads a small piece of content and verifies its digest. What is not here is
	// ErrNotFound.
	Blob(ctx context.Context, d imagespec.Descriptor) ([]byte, error)
}

// ImageRecord is one name of an image.
type ImageRecord struct {
	Name      string // normalised; "" where the image has no name
	Target    imagespec.Descriptor
	CreatedAt time.Time
	UpdatedAt time.Time
	Parent    digest.Digest // the image it was built or committed from, where that is known
}

// UntagOptions of Catalog.Untag.
type UntagOptions struct {
	// Used takes the last name also from an image that a container uses.
	Used bool
	// Keep leaves an image whose last name goes in the list, without a name.
	Keep bool
}

// Variant is one manifest of an image.
type Variant struct {
	Descriptor imagespec.Descriptor
	Available  bool               // all of its content is here
	For        digest.Digest      // the manifest that an attestation is about
	Image      bool               // it is an image that can run, not an attestation or artifact
	Platform   imagespec.Platform // of an image
	ConfigID   digest.Digest      // of the config, where the manifest is here
	Config     []byte             // the config's JSON, where it is here
	Manifest   imagespec.Manifest // where it is here
	Content    int64              // bytes of content that are here
	Chains     []VariantLayer     // of an image, the lowest first
	Blobs      []imagespec.Descriptor
}

// VariantLayer is one layer of an image: its chain id and what it takes on the disk,
// 0 where it is not unpacked.
type VariantLayer struct {
	Chain digest.Digest
	Size  int64
}

// Archives is an optional ability of Images: images that come and go as streams.
type Archives interface {
	// LoadWith is Load that tells its records; with Keep, what names pointed to before
	// stays without a name.
	LoadWith(ctx context.Context, r io.Reader, o LoadOptions) ([]ImageRecord, error)
	// Save writes a docker archive that is an OCI layout too. A record without a name is
	// written without one.
	Save(ctx context.Context, w io.Writer, records []ImageRecord, platforms []imagespec.Platform) error
	// AddLayer makes an image of base (nil: of nothing), the layer, which is a tar that
	// may be compressed (nil: none), and config, into which the layers' diff ids are
	// put. name may be "".
	AddLayer(ctx context.Context, base *imagespec.Descriptor, layer io.Reader, config LayerConfig, name string) (ImageRecord, error)
}

// ArchiveError tells what is wrong with an archive; Kind is ErrInvalid, ErrCorrupt,
// ErrNotFound or ErrNoSpace.
type ArchiveError struct{ Kind, Err error }

func (e *ArchiveError) Error() string { return "load image: " + e.Kind.Error() + ": " + e.Err.Error() }

// Unwrap makes both matched.
func (e *ArchiveError) Unwrap() []error { return []error{e.Kind, e.Err} }

// LoadOptions of one load.
type LoadOptions struct {
	Name      string // for what has none
	Keep      bool
	Platforms []imagespec.Platform // nil: all that is there
}

// LayerConfig makes the config of a new image from that of its base (nil without)
// and tells whether it has a layer more; diffIDs are all of the new image's.
type LayerConfig func(base []byte, diffIDs []digest.Digest, added bool) ([]byte, error)

// Registries is an optional ability of Images: what else registries are for.
type Registries interface {
	// PullWith is Pull that says what it brought and whether that was new.
	PullWith(ctx context.Context, ref string, o PullOptions) (Pulled, error)
	// Push sends what name points to. The error is the registry's.
	Push(ctx context.Context, name string, o PushOptions) (imagespec.Descriptor, error)
	// RemoteTags lists the tags of a repository.
	RemoteTags(ctx context.Context, repository string, o PullOptions) ([]string, error)
	// RemoteManifest resolves a reference at its registry and reads the manifest, and
	// of an image the config.
	RemoteManifest(ctx context.Context, ref string, o PullOptions) (d imagespec.Descriptor, manifest, config []byte, err error)
}

// RegistryConfig is how registries are reached, beside what each call says.
type RegistryConfig struct {
	// Insecure registries, as host, host:port or range of addresses, may be spoken to
	// in plain HTTP or with a certificate that nobody vouches for. 127.0.0.0/8 and ::1
	// are always among them.
	Insecure []string
	// Mirrors by registry ("docker.io"): URLs that are asked before it.
	Mirrors map[string][]string
}

// Pulled is what a pull brought.
type Pulled struct {
	Record ImageRecord
	Newer  bool // the name pointed to nothing or to something else before
}

// PushOptions for one push.
type PushOptions struct {
	PullOptions
	// Instead is called where the target is an index not all of whose content is
	// here, and only the manifest is pushed.
	Instead func(index, manifest imagespec.Descriptor)
}

// SearchResult is one repository that a registry's index knows.
type SearchResult struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
}
