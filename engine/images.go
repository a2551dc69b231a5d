package engine

import (
	"context"
	"io"
	"slices"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Images is the image store. There is one on a machine: what is pulled, loaded or
// built here runs at once.
type Images interface {
	// Pull fetches ref and unpacks it for this machine's platform. Concurrent pulls
	// of one ref share the work. A failure is a *PullError.
	Pull(ctx context.Context, ref string, o PullOptions) (*Image, error)
	// Load reads a docker archive or an OCI archive (tar, also compressed), LoadDir
	// an OCI layout directory. Names in it are kept; name, when not empty, names
	// what has none. Nothing of an invalid archive stays.
	Load(ctx context.Context, r io.Reader, name string) ([]*Image, error)
	LoadDir(ctx context.Context, dir, name string) ([]*Image, error)
	// Get finds an image by reference (short forms as Docker understands them), by
	// id or by unique prefix of its id.
	Get(ctx context.Context, ref string) (*Image, error)
	List(ctx context.Context) ([]*Image, error)
	// Remove takes a name away, and with the last name the content; it refuses an
	// image that a container uses with ErrInUse.
	Remove(ctx context.Context, ref string) error
	// Usage of the disk that holds images.
	Usage(ctx context.Context) (DiskUsage, error)
}

// PullOptions for one pull.
type PullOptions struct {
	// Credentials are for the registry of the reference alone; nil is anonymous. An
	// empty user means that secret is an identity token.
	Credentials func(host string) (user, secret string, err error)
	// Token is a bearer token in place of credentials; nil or "" is none.
	Token func(host string) string
	// Insecure allows plain HTTP and unverified TLS. Localhost is always allowed
	// plain HTTP.
	Insecure bool
	// Again connects also to a registry that has not answered a moment ago; without
	// it such a pull fails at once.
	Again    bool
	Progress func(PullProgress) // may be nil; called from several goroutines
	// Platform other than the machine's; such an image is kept but cannot run here.
	Platform *imagespec.Platform
	// Keep leaves what the name pointed to before in the list, without a name.
	Keep bool
}

// PullProgress of one piece of content.
type PullProgress struct {
	Digest      string
	Offset      int64
	Total       int64
	Done        bool
	Description string // layer, config, manifest
	State       PullState
	From        string // of a push: the repository that a layer was mounted from
}

// PullState is what is being done with a piece of content.
type PullState string

// States of a piece of content. A pull has the first five of a layer, a push the
// others.
const (
	StateFetching   PullState = ""
	StateFound      PullState = "found"  // told once before the first fetch
	StateExists     PullState = "exists" // nothing to do
	StateExtracting PullState = "extracting"
	StateComplete   PullState = "complete"
	StatePushing    PullState = "pushing"
	StatePushed     PullState = "pushed"
	StateMounted    PullState = "mounted"
)

// PullError says which image could not be pulled and whether trying again can
// help.
type PullError struct {
	Ref    string
	Reason PullReason
	Err    error
}

// PullReason is why a pull failed.
type PullReason string

// Reasons of a PullError.
const (
	PullNotFound     PullReason = "not found"
	PullUnauthorized PullReason = "unauthorized"
	PullUnreachable  PullReason = "registry unreachable"
	PullInvalidName  PullReason = "invalid name"
	PullCorrupt      PullReason = "corrupt content"
	PullPlatform     PullReason = "no image for this platform"
	PullOther        PullReason = "failed"
)

func (e *PullError) Error() string {
	return "pull " + e.Ref + ": " + string(e.Reason) + ": " + e.Err.Error()
}
func (e *PullError) Unwrap() error { return e.Err }

// Image is one image with all of its names.
type Image struct {
	ID        string   // digest of the config, sha256:...
	Digest    string   // digest of the manifest or index that the names point to
	Names     []string // normalised: docker.io/library/busybox:latest
	Digests   []string // name@digest
	Loaded    []string // of Names, those that Load gave; the others were pulled
	Size      int64    // bytes of compressed content
	CreatedAt time.Time
	Config    imagespec.Image
}

// IsLoaded tells whether ref, which found the image, names what somebody loaded on
// this machine, not what was pulled.
func (i *Image) IsLoaded(ref string) bool {
	n, err := NormalizeRef(ref)
	return err == nil && slices.Contains(i.Loaded, n)
}

// DiskUsage in bytes and inodes.
type DiskUsage struct{ Used, Free, Total, Inodes, InodesFree uint64 }
