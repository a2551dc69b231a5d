package build

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/buildkit/snapshot"
)

// BuildKit has a name of its own for the snapshot of an image's layer; the image
// store's is the layer's chain id, as containerd's. Both unpack the same content and
// check its diff ids, so one snapshot does: layers of base images are used where they
// are, and what a build has fetched a container can use.

// shared is the image store's name of a snapshot that BuildKit names.
func shared(name string) string {
	if chain, ok := snapshot.ParseLayerSnapshotID(name); ok {
		return chain.String()
	}
	return name
}

// layers translates names for snapshots. What it tells of them has the store's names.
type layers struct{ snapshots.Snapshotter }

func (l *layers) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	return l.Snapshotter.Stat(ctx, shared(key))
}

func (l *layers) Update(ctx context.Context, i snapshots.Info, fields ...string) (snapshots.Info, error) {
	i.Name = shared(i.Name)
	return l.Snapshotter.Update(ctx, i, fields...)
}

func (l *layers) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	return l.Snapshotter.Usage(ctx, shared(key))
}

func (l *layers) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	return l.Snapshotter.Mounts(ctx, shared(key))
}

func (l *layers) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return l.Snapshotter.Prepare(ctx, shared(key), shared(parent), opts...)
}

func (l *layers) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return l.Snapshotter.View(ctx, shared(key), shared(parent), opts...)
}

func (l *layers) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return l.Snapshotter.Commit(ctx, shared(name), shared(key), opts...)
}

func (l *layers) Remove(ctx context.Context, key string) error {
	return l.Snapshotter.Remove(ctx, shared(key))
}

// layerLeases translates names for leases on snapshots.
type layerLeases struct{ leases.Manager }

func resource(r leases.Resource) leases.Resource {
	if strings.HasPrefix(r.Type, "snapshots/") {
		r.ID = shared(r.ID)
	}
	return r
}

func (l *layerLeases) AddResource(ctx context.Context, to leases.Lease, r leases.Resource) error {
	return l.Manager.AddResource(ctx, to, resource(r))
}

func (l *layerLeases) DeleteResource(ctx context.Context, of leases.Lease, r leases.Resource) error {
	return l.Manager.DeleteResource(ctx, of, resource(r))
}
