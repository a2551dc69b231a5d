package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine/dockerapi/containers"
	"skiff.dev/skiff/engine/dockerapi/images"
	"skiff.dev/skiff/engine/dockerapi/system"
	"skiff.dev/skiff/engine/dockerapi/volumes"
	"skiff.dev/skiff/kernel/cgroup"
)

func (p *process) dockerDir() string { return filepath.Join(p.cfg.Data, "docker", "containers") }

// dockerContainers is the area of containers on this process's engine.
func (p *process) dockerContainers(ctx context.Context, o containers.Options) (*containers.Area, error) {
	groups, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	o.Dir, o.Engine, o.CgroupVersion, o.Runtime = p.dockerDir(), p.engine, groups.Version(), "runc"
	return containers.New(ctx, o)
}

// imageFinder shows the images to containers.
type imageFinder struct{ images *images.Area }

// Find implements containers.Images.
func (f imageFinder) Find(ctx context.Context, ref string, want *imagespec.Platform) (*containers.Image, error) {
	found, err := f.images.Find(ctx, ref, want)
	if err != nil {
		return nil, err
	}
	img := &containers.Image{ID: found.ID, EngineID: found.ConfigID.String(), Descriptor: &found.Descriptor}
	docker := struct{ Config *containers.DockerConfig }{&img.Docker}
	if err := errors.Join(json.Unmarshal(found.Config, &img.Config), json.Unmarshal(found.Config, &docker)); err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", ref, err)
	}
	if img.Descriptor.Platform == nil {
		p := imagespec.Platform{Architecture: img.Config.Architecture, OS: img.Config.OS, Variant: img.Config.Variant}
		img.Descriptor.Platform = &p
	}
	if name, err := reference.ParseNormalizedNamed(found.Name); err == nil && found.Descriptor.Annotations == nil {
		img.Descriptor.Annotations = map[string]string{"io.containerd.image.name": found.Name}
		if tagged, ok := name.(reference.Tagged); ok {
			img.Descriptor.Annotations[imagespec.AnnotationRefName] = tagged.Tag()
		}
	}
	return img, nil
}

// commitSource shows the containers to the areas of images and networks, which are
// made before.
type commitSource struct {
	a atomic.Pointer[containers.Area]
}

func (c *commitSource) set(a *containers.Area) { c.a.Store(a) }

// networkChanged is told when a container's hosts or resolvers change.
func (c *commitSource) networkChanged(id string) {
	if a := c.a.Load(); a != nil {
		a.NetworkChanged(id)
	}
}

// Source implements images.Containers.
func (c *commitSource) Source(ctx context.Context, name string) (*images.Source, error) {
	s, err := c.a.Load().Source(ctx, name)
	if err != nil {
		return nil, err
	}
	return &images.Source{
		ID: s.ID, Name: s.Name, Config: s.Config, Image: s.Image, Labels: s.Config.Labels, Running: s.Running, Pause: s.Pause, Layer: s.Layer,
	}, nil
}

// References implements images.Containers.
func (c *commitSource) References(context.Context) map[string]string {
	return c.a.Load().ImageReferences()
}

// volumeUser shows the volumes to containers.
type volumeUser struct{ s *volumes.Store }

// Use implements containers.Volumes.
func (u volumeUser) Use(ctx context.Context, s containers.VolumeSpec, id string) (containers.Volume, error) {
	v, err := u.s.Create(ctx, volumes.Spec{Name: s.Name, Driver: s.Driver, Options: s.Options, Labels: s.Labels}, id)
	if err != nil {
		return containers.Volume{}, err
	}
	return containers.Volume{Name: v.Name, Driver: v.Driver, Mountpoint: v.Mountpoint}, nil
}

// Mount implements containers.Volumes.
func (u volumeUser) Mount(_ context.Context, name, id string) (containers.Volume, error) {
	dir, err := u.s.Mount(name, id)
	return containers.Volume{Name: name, Driver: volumes.Driver, Mountpoint: dir}, err
}

// Unmount implements containers.Volumes.
func (u volumeUser) Unmount(_ context.Context, name, id string) error { return u.s.Unmount(name, id) }

// Unuse implements containers.Volumes.
func (u volumeUser) Unuse(ctx context.Context, name, id string, remove bool) error {
	u.s.Release(name, id)
	if !remove {
		return nil
	}
	err := u.s.Remove(ctx, name)
	if errors.Is(err, volumes.ErrInUse) || errors.Is(err, volumes.ErrNotFound) {
		return nil // somebody else's, or gone
	}
	return err
}

// containerCounter shows the containers to the area of the engine as a whole.
type containerCounter struct{ a *containers.Area }

// Counts implements system.Containers.
func (c containerCounter) Counts(ctx context.Context) (system.Counts, error) {
	running, paused, stopped := c.a.Counts(ctx)
	return system.Counts{Running: running, Paused: paused, Stopped: stopped}, nil
}

// Usage implements system.Containers.
func (c containerCounter) Usage(ctx context.Context, items bool) (*container.DiskUsage, error) {
	return c.a.Usage(ctx, items)
}
