package imagestore

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
)

// unpacking is what one unpack waits for and tells.
type unpacking struct {
	arrived func(context.Context, digest.Digest) error
	tell    func(imagespec.Descriptor, engine.PullState)
}

// present is for content that is here.
var present = unpacking{
	arrived: func(context.Context, digest.Digest) error { return nil },
	tell:    func(imagespec.Descriptor, engine.PullState) {},
}

// layering is one layer on its way to a snapshot.
type layering struct {
	blob   imagespec.Descriptor
	diffID digest.Digest
	chain  string // of it and those below
	below  string // chain of those below, "" at the bottom

	key      string // of the snapshot that is being filled
	dir      string // its directory
	hasRoot  bool   // the layer says whose the root directory is
	deferred bool   // it can only be applied upon what is below it
}

// applyLayers makes the snapshots of layers that have none, and returns the chain id
// of all. Layers are unpacked side by side, on all cores, and put upon each other at
// the end; what they write is on the disk before the first is recorded.
func (s *Store) applyLayers(ctx context.Context, blobs []imagespec.Descriptor, diffIDs []digest.Digest, o unpacking) (string, error) {
	chains := identity.ChainIDs(append([]digest.Digest{}, diffIDs...))
	var todo []*layering
	below := ""
	for i, c := range chains {
		if _, err := s.snaps.Stat(ctx, c.String()); errdefs.IsNotFound(err) || len(todo) > 0 {
			todo = append(todo, &layering{blob: blobs[i], diffID: diffIDs[i], chain: c.String(), below: below})
		} else if err != nil {
			return "", err
		}
		below = c.String()
	}
	if len(todo) == 0 {
		return below, nil
	}
	defer s.dropUnfinished(ctx, todo)
	g, gctx := errgroup.WithContext(ctx)
	cores := semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))
	for i, l := range todo {
		g.Go(func() error {
			if err := o.arrived(gctx, l.blob.Digest); err != nil {
				return err
			}
			if err := cores.Acquire(gctx, 1); err != nil {
				return err
			}
			o.tell(l.blob, engine.StateExtracting)
			err := s.applyLayer(gctx, l, i == 0)
			cores.Release(1)
			if err != nil {
				return err
			}
			// While the disk takes this one the cores go on with the next.
			return syncFS(s.root)
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	if err := s.commitLayers(ctx, todo); err != nil {
		return "", err
	}
	for _, l := range todo {
		o.tell(l.blob, engine.StateComplete)
	}
	return below, nil
}

// dropUnfinished removes snapshots that were not committed.
func (s *Store) dropUnfinished(ctx context.Context, all []*layering) {
	for _, l := range all {
		if l.key == "" {
			continue
		}
		if err := s.snaps.Remove(context.WithoutCancel(ctx), l.key); err != nil && !errdefs.IsNotFound(err) {
			s.tel.Log.Warn("an unfinished layer stays", "err", err)
		}
	}
}

// commitLayers records layers in order, when all are on the disk.
func (s *Store) commitLayers(ctx context.Context, all []*layering) error {
	lower := ""
	for _, l := range all {
		if l.deferred {
			// What is below has been committed just now.
			if err := s.applyLayer(ctx, l, true); err != nil {
				return err
			}
			if err := syncFS(s.root); err != nil {
				return err
			}
		} else if lower != "" && !l.hasRoot {
			if err := sameOwner(l.dir, lower); err != nil {
				return err
			}
		}
		var opts []snapshots.Opt
		if l.below != "" {
			opts = append(opts, snapshots.WithParent(l.below))
		}
		if err := s.snaps.Commit(ctx, l.chain, l.key, opts...); err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("layer %s: %w", l.blob.Digest, err)
		} else if err == nil {
			l.key = ""
		}
		lower = l.dir
	}
	return nil
}

// errNeedsBelow says that a layer refers to what is not in it: a directory that it
// does not describe, or a file that it links to.
var errNeedsBelow = errors.New("the layer refers to those below it")

// applyLayer fills a new snapshot with a layer: upon what is below, which is
// committed, or by itself.
func (s *Store) applyLayer(ctx context.Context, l *layering, upon bool) error {
	parent := ""
	if upon {
		parent = l.below
	}
	key := fmt.Sprintf("unpack-%p-%v-%s", l, upon, l.chain)
	mounts, err := s.snaps.Prepare(ctx, key, parent)
	if err != nil {
		return fmt.Errorf("layer %s: %w", l.blob.Digest, err)
	}
	l.key, l.deferred = key, false
	var opts []archive.ApplyOpt
	dir, parents, err := target(mounts)
	if err != nil {
		return err
	}
	l.dir = dir
	if l.below != "" {
		opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
	}
	if upon {
		opts = append(opts, archive.WithParents(parents))
	}
	alone := &standalone{declared: map[string]bool{".": true}, check: !upon}
	opts = append(opts, archive.WithFilter(alone.filter))
	err = s.extract(ctx, l, dir, opts)
	l.hasRoot = alone.root
	if errors.Is(err, errNeedsBelow) {
		l.key, l.deferred = "", true
		return s.snaps.Remove(ctx, key)
	}
	return err
}

// standalone watches whether a layer is complete in itself.
type standalone struct {
	declared map[string]bool
	check    bool
	root     bool
}

func (a *standalone) filter(h *tar.Header) (bool, error) {
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if name == "." {
		a.root = true
		return true, nil
	}
	if !a.check {
		return true, nil
	}
	if !a.declared[path.Dir(name)] {
		return false, errNeedsBelow
	}
	switch h.Typeflag {
	case tar.TypeDir:
		a.declared[name] = true
	case tar.TypeLink:
		if !a.declared[path.Clean(strings.TrimPrefix(h.Linkname, "/"))] {
			return false, errNeedsBelow
		}
	case tar.TypeReg:
		a.declared[name] = true
	}
	return true, nil
}

// extract unpacks a blob into dir; what it unpacks to must be what the config says,
// and no more than the disk has free.
func (s *Store) extract(ctx context.Context, l *layering, dir string, opts []archive.ApplyOpt) error {
	ra, err := s.content.ReaderAt(ctx, l.blob)
	if err != nil {
		return fmt.Errorf("layer %s: %w", l.blob.Digest, err)
	}
	defer ra.Close()
	plain, err := decompress(content.NewReader(ra))
	if err != nil {
		return fmt.Errorf("%w: failed to extract layer %s: %w", engine.ErrCorrupt, l.blob.Digest, err)
	}
	defer plain.Close()
	bounded, err := s.boundedBySpace(plain)
	if err != nil {
		return err
	}
	sum := digest.Canonical.Digester()
	in := io.TeeReader(bounded, sum.Hash())
	if _, err := archive.Apply(ctx, dir, in, opts...); err != nil {
		if errors.Is(err, errNeedsBelow) || ctx.Err() != nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, engine.ErrNoSpace) {
			return err
		}
		return fmt.Errorf("%w: failed to extract layer %s: %w", engine.ErrCorrupt, l.blob.Digest, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("%w: failed to extract layer %s: %w", engine.ErrCorrupt, l.blob.Digest, err)
	}
	if got := sum.Digest(); got != l.diffID {
		return fmt.Errorf("%w: wrong diff id of layer %s: it is %s, the config says %s", engine.ErrCorrupt, l.blob.Digest, got, l.diffID)
	}
	return nil
}

// decompress reads what every compression that layers have hides.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	magic, err := in.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if compression.DetectCompression(magic) == compression.Gzip {
		return gzip.NewReader(in)
	}
	return compression.DecompressStream(in)
}

// target is the directory in which a snapshot's own files are, and those of what is
// below it, the uppermost first.
func target(mounts []mount.Mount) (dir string, below []string, err error) {
	if len(mounts) != 1 {
		return "", nil, fmt.Errorf("a snapshot of %d mounts", len(mounts))
	}
	if mounts[0].Type != "overlay" {
		return mounts[0].Source, nil, nil
	}
	for _, o := range mounts[0].Options {
		if u, ok := strings.CutPrefix(o, "upperdir="); ok {
			dir = u
		} else if l, ok := strings.CutPrefix(o, "lowerdir="); ok {
			below = strings.Split(l, ":")
		}
	}
	if dir == "" {
		return "", nil, errors.New("a snapshot that cannot be written")
	}
	return dir, below, nil
}

// sameOwner gives a directory the owner of another.
func sameOwner(dir, as string) error {
	st, err := os.Stat(as)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("owner of %s is unknown", as)
	}
	return os.Lchown(dir, int(sys.Uid), int(sys.Gid))
}

// syncFS waits until all of the filesystem of dir is on the disk.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
