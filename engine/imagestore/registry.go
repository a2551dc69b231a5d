package imagestore

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	clog "github.com/containerd/log"
	"github.com/opencontainers/go-digest"
)

// registryNamespace keeps what a registry on this machine holds apart from what runs
// here, over the same content: a blob that both have is on the disk once, and stays
// until neither refers to it.
const registryNamespace = "registry"

// Shelf is the part of the store that a registry on this machine keeps its
// repositories in. Everything but Open, Hold and Free wants the context of Context.
type Shelf struct {
	s *Store
}

// Shelf returns the registry's part; it is valid until Close.
func (s *Store) Shelf() *Shelf { return &Shelf{s} }

// Context is what the parts want.
func (h *Shelf) Context(ctx context.Context) context.Context {
	return clog.WithLogger(namespaces.WithNamespace(ctx, registryNamespace), silent())
}

// Content is what is kept. It needs a lease or a name, or it is collected.
func (h *Shelf) Content() content.Store { return h.s.content }

// Leases hold content.
func (h *Shelf) Leases() leases.Manager { return h.s.leases }

// Names hold content too.
func (h *Shelf) Names() images.Store { return h.s.images }

// Open opens a blob's file.
func (h *Shelf) Open(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(h.s.root, "content", "blobs", d.Algorithm().String(), d.Encoded()))
}

// Hold keeps content that is begun and not finished until done is called.
func (h *Shelf) Hold() (done func()) {
	h.s.working.RLock()
	return func() {
		h.s.working.RUnlock()
		h.s.dropIngests()
	}
}

// Free is how many bytes the disk has free.
func (h *Shelf) Free() (int64, error) { return h.s.free() }

// Collect deletes what nothing refers to.
func (h *Shelf) Collect(ctx context.Context) error { return h.s.collect(h.s.context(ctx)) }
