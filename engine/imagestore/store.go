// Package imagestore keeps images on one machine by containerd's libraries in this
// process: content by digest, names and references in bbolt, layers as overlay
// snapshots. It implements engine.Images, and tells the engine what a container of
// an image consists of. What has lost its last name is deleted from the disk.
package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	clog "github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/telemetry"
)

const (
	namespace   = "skiff"
	snapshotter = "overlayfs"
	// unnamed begins the record of an image that has no name but is kept: it was
	// loaded without one, or a container uses it.
	unnamed = "unnamed@"
	// leaseTime is when the lease of work that never ended may be collected.
	leaseTime = 24 * time.Hour
)

// Store implements engine.Images.
type Store struct {
	root     string
	tel      *telemetry.Telemetry
	bolt     *bolt.DB
	db       *metadata.DB
	content  content.Store
	snaps    snapshots.Snapshotter
	images   images.Store
	leases   leases.Manager
	platform platforms.MatchComparer
	closers  []io.Closer

	// use is held for reading while a container is made of an image, and for
	// writing while names and content are taken away.
	use   sync.RWMutex
	inUse func(imageID string) (container string, used bool)

	// working is held for reading while content is brought in.
	working sync.RWMutex

	mu    sync.Mutex
	cache map[digest.Digest]*unpacked // by target
	pulls map[string]*pull
	// dialer is what all pulls connect with.
	dialer     *dialer
	registries engine.RegistryConfig
}

var _ engine.Images = (*Store)(nil)

// unpacked is what is known of an image that is ready to run. It never changes.
type unpacked struct {
	id     digest.Digest // of the config
	config imagespec.Image
	size   int64
	view   string   // snapshot, "" without layers
	lower  []string // directories below Layers(), the uppermost first
}

// Open opens the store in root. inUse tells whether a container uses an image;
// it is called with locks held and must not call the store.
func Open(ctx context.Context, root string, tel *telemetry.Telemetry, inUse func(imageID string) (string, bool)) (_ *Store, err error) {
	s := &Store{root: root, tel: tel, inUse: inUse, platform: platforms.Only(platforms.DefaultSpec()), cache: map[digest.Digest]*unpacked{}, pulls: map[string]*pull{}, dialer: newDialer()}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, err
	}
	silent()
	disk, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	cs := &ingests{disk, filepath.Join(root, "content")}
	sn, err := overlay.NewSnapshotter(filepath.Join(root, "snapshots"))
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w (the data directory's filesystem must support overlayfs)", err)
	}
	s.closers = append(s.closers, sn)
	s.bolt, err = bolt.Open(filepath.Join(root, "meta.db"), 0o600, &bolt.Options{Timeout: 2 * time.Second, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: another process uses the images in %s", engine.ErrInUse, root)
	}
	if err != nil {
		return nil, fmt.Errorf("open image names: %w", err)
	}
	s.closers = append(s.closers, s.bolt)
	s.db = metadata.NewDB(s.bolt, opening{cs}, map[string]snapshots.Snapshotter{snapshotter: sn})
	ctx = s.context(ctx)
	if err := s.db.Init(ctx); err != nil {
		return nil, fmt.Errorf("open image names: %w", err)
	}
	s.content = named{s.db.ContentStore()}
	s.snaps = s.db.Snapshotter(snapshotter)
	s.images = metadata.NewImageStore(s.db)
	s.leases = metadata.NewLeaseManager(s.db)
	// What a crash has left half made is not referenced, once its lease is gone.
	s.dropIngests()
	if err := s.dropLeases(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes the store.
func (s *Store) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// silent swallows the log lines of containerd's libraries, also those that do not
// look at the context.
var silent = sync.OnceValue(func() *clog.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	clog.L = logrus.NewEntry(l)
	return clog.L
})

// context carries containerd's namespace, and keeps its libraries from logging:
// they return what they have to say.
func (s *Store) context(ctx context.Context) context.Context {
	return clog.WithLogger(namespaces.WithNamespace(ctx, namespace), silent())
}

func (s *Store) dropLeases(ctx context.Context) error {
	all, err := s.leases.List(ctx)
	if err != nil {
		return err
	}
	gone := false
	for _, l := range all {
		// Leases without an end are a builder's: they hold its cache.
		if _, work := l.Labels["containerd.io/gc.expire"]; !work {
			continue
		}
		gone = true
		if err := s.leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if !gone {
		return nil
	}
	return s.collect(ctx)
}

// withLease keeps what is added under the returned context from being collected
// until done is called.
func (s *Store) withLease(ctx context.Context) (_ context.Context, done func(), err error) {
	l, err := s.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return nil, nil, err
	}
	s.working.RLock()
	return leases.WithLease(ctx, l.ID), func() {
		s.working.RUnlock()
		s.dropIngests()
		if err := s.leases.Delete(context.WithoutCancel(ctx), l); err != nil && !errdefs.IsNotFound(err) {
			s.tel.Log.Warn("lease of image work stays", "err", err)
		}
	}, nil
}

// dropIngests deletes content that was begun and not finished, unless some is just
// coming in. The library keeps it for a day and, where the disk was full when it
// began, for good: it cannot read its own notes about it then.
func (s *Store) dropIngests() {
	if !s.working.TryLock() {
		return // the last to finish does it
	}
	defer s.working.Unlock()
	dir := filepath.Join(s.root, "content", "ingest")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.tel.Log.Warn("unfinished content stays", "err", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			s.tel.Log.Warn("unfinished content stays", "err", err)
		}
	}
}

// collect deletes what nothing refers to.
func (s *Store) collect(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if _, err := s.db.GarbageCollect(ctx); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}

// Layers is the directory to which lower directories are relative.
func (s *Store) Layers() string { return filepath.Join(s.root, "snapshots", "snapshots") }

// Remove implements engine.Images.
func (s *Store) Remove(ctx context.Context, ref string) error {
	ctx = s.context(ctx)
	s.use.Lock()
	defer s.use.Unlock()
	recs, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	u, err := s.load(ctx, recs[0].Target)
	if err != nil {
		// It cannot be read: its names can go all the same.
		u = &unpacked{}
	}
	all, err := s.grouped(ctx)
	if err != nil {
		return err
	}
	if len(all[u.id]) <= len(recs) {
		if c, used := s.inUse(u.id.String()); used {
			return fmt.Errorf("image %s is used by container %s: %w", ref, c, engine.ErrInUse)
		}
	}
	for _, r := range recs {
		if err := s.images.Delete(ctx, r.Name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	s.forget()
	return s.collect(ctx)
}

// forget empties the cache: snapshots may go.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cache)
}

// free is how many bytes the disk of the images has free.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return 0, fmt.Errorf("usage of %s: %w", s.root, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Usage implements engine.Images.
func (s *Store) Usage(ctx context.Context) (engine.DiskUsage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return engine.DiskUsage{}, fmt.Errorf("usage of %s: %w", s.root, err)
	}
	size := uint64(st.Bsize)
	u := engine.DiskUsage{Free: st.Bavail * size, Total: st.Blocks * size, Inodes: st.Files, InodesFree: st.Ffree}
	ctx = s.context(ctx)
	err := s.content.Walk(ctx, func(i content.Info) error {
		u.Used += uint64(i.Size)
		return nil
	})
	if err != nil {
		return u, err
	}
	err = s.snaps.Walk(ctx, func(ctx context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			return nil
		}
		us, err := s.snaps.Usage(ctx, i.Name)
		u.Used += uint64(us.Size)
		return err
	})
	return u, err
}
