package system

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// oldUsage is how versions before 1.52 tell it. Later ones tell both, unless the
// client shows by the parameter verbose that it knows the new form.
type oldUsage struct {
	LayersSize int64               `json:",omitempty"`
	Images     any                 `json:",omitempty"`
	Containers []container.Summary `json:",omitzero"`
	Volumes    []volume.Volume     `json:",omitzero"`
	BuildCache []build.CacheRecord `json:",omitzero"`
}

// bothUsages is the answer of the versions that tell both.
type bothUsages struct {
	*oldUsage
	*system.DiskUsage
}

// kinds is what a request asks for.
type kinds struct{ containers, images, volumes, builds bool }

func kindsOf(r *route.Request) (kinds, error) {
	names, ok := r.Form["type"]
	if r.Before("1.42") || !ok {
		return kinds{true, true, true, true}, nil
	}
	var k kinds
	for _, name := range names {
		switch system.DiskUsageObject(name) {
		case system.ContainerObject:
			k.containers = true
		case system.ImageObject:
			k.images = true
		case system.VolumeObject:
			k.volumes = true
		case system.BuildCacheObject:
			k.builds = true
		default:
			return k, route.Invalidf("unknown object type: %s", name)
		}
	}
	return k, nil
}

func (a *Area) diskUsage(w http.ResponseWriter, r *route.Request) error {
	k, err := kindsOf(r)
	if err != nil {
		return err
	}
	newOnly := r.Since("1.52") && r.Bool("verbose")
	old := r.Before("1.52") || !newOnly
	du, err := a.count(r, k, newOnly || old)
	if err != nil {
		return err
	}
	before := &oldUsage{}
	if old {
		before.take(r, du)
	}
	if r.Before("1.52") {
		return route.WriteJSON(w, http.StatusOK, before)
	}
	return route.WriteJSON(w, http.StatusOK, &bothUsages{before, du})
}

// count asks the areas of the kinds that are wanted.
func (a *Area) count(r *route.Request, k kinds, items bool) (du *system.DiskUsage, err error) {
	du = &system.DiskUsage{}
	ctx := r.Context()
	if k.containers {
		du.ContainerUsage = &container.DiskUsage{}
		if a.o.Containers != nil {
			if du.ContainerUsage, err = a.o.Containers.Usage(ctx, items); err != nil {
				return nil, err
			}
		}
	}
	if k.images {
		du.ImageUsage = &image.DiskUsage{}
		if a.o.Images != nil {
			if du.ImageUsage, err = a.o.Images.Usage(ctx, items); err != nil {
				return nil, err
			}
		}
	}
	if k.volumes {
		du.VolumeUsage = &volume.DiskUsage{}
		if a.o.Volumes != nil {
			if du.VolumeUsage, err = a.o.Volumes.Usage(ctx, items); err != nil {
				return nil, err
			}
		}
	}
	if k.builds {
		du.BuildCacheUsage = &build.DiskUsage{}
		if a.o.Builds != nil {
			if du.BuildCacheUsage, err = a.o.Builds.Usage(ctx, items); err != nil {
				return nil, err
			}
		}
	}
	return du, nil
}

// oldImage is an image with its size also by the name that it had once.
type oldImage struct {
	image.Summary
	VirtualSize int64
}

// take fills in the old form; lists that were asked for are there, if empty.
func (o *oldUsage) take(r *route.Request, du *system.DiskUsage) {
	if u := du.ImageUsage; u != nil {
		o.LayersSize = u.TotalSize
		if r.Before("1.44") {
			list := make([]oldImage, len(u.Items))
			for i, s := range u.Items {
				list[i] = oldImage{s, s.Size}
			}
			o.Images = list
		} else {
			o.Images = some(u.Items)
		}
	}
	if u := du.ContainerUsage; u != nil {
		o.Containers = some(u.Items)
	}
	if u := du.VolumeUsage; u != nil {
		o.Volumes = some(u.Items)
	}
	if u := du.BuildCacheUsage; u != nil {
		o.BuildCache = some(u.Items)
	}
}

func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return slices.Clip(list)
}
