package images

import (
	"context"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"skiff.dev/skiff/engine/dockerapi/filters"
)

// Count is how many images there are.
func (a *Area) Count(ctx context.Context) (int, error) {
	all, err := a.o.Store.Records(ctx)
	if err != nil {
		return 0, err
	}
	seen := map[digest.Digest]bool{}
	for _, r := range all {
		seen[r.Target.Digest] = true
	}
	return len(seen), nil
}

// Usage is what images take on the disk; pieces that several have count once.
func (a *Area) Usage(ctx context.Context, items bool) (*imagetypes.DiskUsage, error) {
	images, err := a.summaries(ctx, filters.Args{}, true)
	if err != nil {
		return nil, err
	}
	uses, err := a.users(ctx)
	if err != nil {
		return nil, err
	}
	shareSizes(images)
	out := &imagetypes.DiskUsage{TotalCount: int64(len(images))}
	all, used := map[digest.Digest]int64{}, map[digest.Digest]int64{}
	for _, img := range images {
		by := usersOf(img.variants, uses)
		add := func(d digest.Digest, size int64) {
			all[d] = size
			if len(by) > 0 {
				used[d] = size
			}
		}
		for _, v := range img.variants {
			for _, l := range v.Chains {
				add("chain "+l.Chain, l.Size)
			}
			if v.Available {
				for _, b := range v.Blobs {
					add(b.Digest, b.Size)
				}
			}
		}
		if len(by) > 0 {
			out.ActiveCount++
		}
		if items {
			s := img.Summary
			s.RepoTags, s.RepoDigests, s.Manifests = list(s.RepoTags), list(s.RepoDigests), nil
			out.Items = append(out.Items, s)
		}
	}
	for d, size := range all {
		out.TotalSize += size
		if _, ok := used[d]; !ok {
			out.Reclaimable += size
		}
	}
	return out, nil
}
