package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/cache"
	cacheconfig "github.com/moby/buildkit/cache/config"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/exporter/containerimage"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/progress"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// exporterMoby is how docker's clients ask for an image in the engine's store.
const exporterMoby = "moby"

func (w *worker) imageExporter(sm *session.Manager) (exporter.Exporter, error) {
	iw, err := containerimage.NewImageWriter(containerimage.WriterOpt{
		Snapshotter: w.Snapshotter, ContentStore: w.ContentStore(), Applier: w.Applier, Differ: w.Differ,
	})
	if err != nil {
		return nil, err
	}
	// Names are given below, when containers can find the image's directories.
	inner, err := containerimage.New(containerimage.Opt{SessionManager: sm, ImageWriter: iw, RegistryHosts: w.RegistryHosts, LeaseManager: w.LeaseManager()})
	return &imageExporter{inner, w.store}, err
}

// imageExporter makes images in the image store.
type imageExporter struct {
	exporter.Exporter
	store Store
}

// Resolve implements exporter.Exporter. Layers of images that stay here are not
// compressed: what pushes them does that.
func (e *imageExporter) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	attrs = maps.Clone(attrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	var names []string
	if n := attrs[string(exptypes.OptKeyName)]; n != "" {
		names = strings.Split(n, ",")
	}
	for i, n := range names {
		if n == "*" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, fmt.Errorf("failed to parse %s: %w", n, err)
		}
		names[i] = reference.TagNameOnly(ref).String()
	}
	if len(names) > 0 {
		attrs[string(exptypes.OptKeyName)] = strings.Join(names, ",")
	}
	push, store := flag(attrs, exptypes.OptKeyPush, false), flag(attrs, exptypes.OptKeyStore, true)
	if _, given := attrs["compression"]; !given && !push {
		attrs["compression"] = "uncompressed"
	}
	inner, err := e.Exporter.Resolve(ctx, id, attrs)
	if err != nil {
		return nil, err
	}
	if !store {
		return inner, nil
	}
	return &imageInstance{inner, e.store, names}, nil
}

// flag reads a switch as BuildKit does: present and empty is on.
func flag(attrs map[string]string, key exptypes.ImageExporterOptKey, fallback bool) bool {
	v, ok := attrs[string(key)]
	if !ok {
		return fallback
	}
	on, err := strconv.ParseBool(v)
	return v == "" || err == nil && on
}

type imageInstance struct {
	exporter.ExporterInstance
	store Store
	names []string
}

// Export implements exporter.ExporterInstance.
func (i *imageInstance) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (_ map[string]string, _ exporter.FinalizeFunc, ref exporter.DescriptorReference, err error) {
	resp, finalize, ref, err := i.ExporterInstance.Export(ctx, src, info)
	if err != nil {
		return nil, nil, nil, err
	}
	// ref holds the content by a lease until it is released.
	defer func() {
		if err != nil && ref != nil {
			err = firstError(err, ref.Release())
			ref = nil
		}
	}()
	target, err := descriptor(resp)
	if err != nil {
		return nil, nil, nil, err
	}
	names := slices.Clone(i.names)
	if n := string(src.Metadata["image.name"]); n != "" {
		for k := range names {
			if names[k] == "*" {
				names[k] = n
			}
		}
	}
	top, err := i.complete(ctx, src, session.NewGroup(info.SessionID))
	if err != nil {
		return nil, nil, nil, err
	}
	label := "storing the image"
	if len(names) > 0 {
		label = "naming to " + strings.Join(names, ", ")
	}
	done := progress.OneOff(ctx, label)
	return resp, finalize, ref, done(i.store.Adopt(ctx, target, top, names))
}

func descriptor(resp map[string]string) (d imagespec.Descriptor, err error) {
	b, err := base64.StdEncoding.DecodeString(resp[exptypes.ExporterImageDescriptorKey])
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return d, fmt.Errorf("descriptor of the image: %w", err)
	}
	return d, nil
}

// complete fetches what base images have left at their registry, and returns the
// snapshot of the result for this machine's platform, "" if it has no layers.
func (i *imageInstance) complete(ctx context.Context, src *exporter.Source, g session.Group) (top string, err error) {
	refs := slices.Collect(maps.Values(src.Refs))
	main := src.Ref
	if main != nil {
		refs = append(refs, main)
	} else if main, err = forThisMachine(src); err != nil {
		return "", err
	}
	for _, r := range refs {
		if r == nil {
			continue
		}
		remotes, err := r.GetRemotes(ctx, false, cacheconfig.RefConfig{Compression: i.Config().Compression()}, false, g)
		if err != nil {
			return "", err
		}
		if u, ok := remotes[0].Provider.(cache.Unlazier); ok {
			if err := u.Unlazy(ctx); err != nil {
				return "", err
			}
		}
	}
	if main == nil {
		return "", nil
	}
	if err := main.Extract(ctx, g); err != nil {
		return "", err
	}
	if err := main.Finalize(ctx); err != nil {
		return "", err
	}
	if top = main.GetString("cache.snapshot"); top == "" {
		top = main.ID()
	}
	return shared(top), nil
}

// forThisMachine picks the result of several platforms that runs here, nil for none.
func forThisMachine(src *exporter.Source) (cache.ImmutableRef, error) {
	if len(src.Refs) == 0 {
		return nil, nil
	}
	ps, err := exptypes.ParsePlatforms(src.Metadata)
	if err != nil {
		return nil, err
	}
	m := platforms.Only(platforms.DefaultSpec())
	var best *exptypes.Platform
	for k := range ps.Platforms {
		p := &ps.Platforms[k]
		if m.Match(p.Platform) && (best == nil || m.Less(p.Platform, best.Platform)) {
			best = p
		}
	}
	if best == nil {
		return nil, nil
	}
	ref, _ := src.FindRef(best.ID)
	return ref, nil
}
