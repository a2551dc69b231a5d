package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker/base"
	wlabel "github.com/moby/buildkit/worker/label"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// worker is BuildKit's worker over the image store, with exporters that make images
// there.
type worker struct {
	*base.Worker
	store Store
}

func (b *Builder) executorDir() string { return filepath.Join(b.o.Root, "executor") }

func (b *Builder) newWorker() (_ *worker, err error) {
	ctx := b.o.Store.Context(background)
	parts := b.o.Store.Parts()
	networks := b.networks()
	exec, err := newRunner(b.executorDir(), b.o.CgroupParent, b.o.Runtime(), networks)
	if err != nil {
		return nil, err
	}
	id, err := base.ID(b.o.Root)
	if err != nil {
		return nil, err
	}
	records, err := metadata.NewStore(filepath.Join(b.o.Root, "metadata_v2.db"))
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	labels := map[string]string{
		wlabel.Executor: "oci", wlabel.Snapshotter: parts.Snapshotter, wlabel.Hostname: hostname,
		wlabel.OCIProcessMode: oci.ProcessSandbox.String(),
	}
	if addr, err := b.gateway(); err != nil {
		return nil, errors.Join(err, records.Close())
	} else if addr.IsValid() {
		labels[gatewayLabel] = addr.String()
	}
	content := containerdsnapshot.NewContentStore(parts.Content, parts.Namespace)
	w, err := base.NewWorker(ctx, base.WorkerOpt{
		ID:               id,
		Root:             b.o.Root,
		Labels:           labels,
		Platforms:        []imagespec.Platform{platforms.Normalize(platforms.DefaultSpec())},
		GCPolicy:         b.o.Limits.policy(b.o.Root),
		BuildkitVersion:  client.BuildkitVersion{Package: version.Package, Version: version.Version, Revision: version.Revision},
		NetworkProviders: networks,
		Executor:         exec,
		Snapshotter:      containerdsnapshot.NewSnapshotter(parts.Snapshotter, &layers{parts.Snapshots}, parts.Namespace, nil),
		ContentStore:     content,
		Applier:          apply.NewFileSystemApplier(content),
		Differ:           walking.NewWalkingDiff(content),
		ImageStore:       &imageNames{b.o.Store},
		RegistryHosts:    registryHosts(),
		LeaseManager:     leaseutil.WithNamespace(&layerLeases{parts.Leases}, parts.Namespace),
		GarbageCollect:   parts.DB.GarbageCollect,
		MetadataStore:    records,
		MountPoolRoot:    filepath.Join(b.o.Root, "cachemounts"),
	})
	if err != nil {
		records.Close()
		return nil, fmt.Errorf("open the build cache: %w", err)
	}
	src, err := newLocalSource(w.CacheMgr, &b.contexts)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.SourceManager.Register(src) // in the place of BuildKit's own
	return &worker{w, b.o.Store}, nil
}

// Exporter implements BuildKit's worker. What docker calls moby is an image here.
func (w *worker) Exporter(name string, sm *session.Manager) (exporter.Exporter, error) {
	image := name == client.ExporterImage || name == exporterMoby
	if image {
		name = client.ExporterImage
	}
	e, err := w.Worker.Exporter(name, sm)
	if err != nil || !image {
		return e, err
	}
	return w.imageExporter(sm)
}
