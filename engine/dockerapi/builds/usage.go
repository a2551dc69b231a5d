package builds

import (
	"context"

	"github.com/moby/buildkit/client"
	"github.com/moby/moby/api/types/build"
)

// Usage is what the build cache takes, for /system/df; items says whether to list
// the records.
func (a *Area) Usage(ctx context.Context, items bool) (*build.DiskUsage, error) {
	all, err := a.o.Builder.DiskUsage(ctx)
	if err != nil {
		return nil, err
	}
	out := &build.DiskUsage{}
	for _, u := range all {
		out.TotalCount++
		out.TotalSize += u.Size
		if u.InUse {
			out.ActiveCount++
		} else if !u.Shared {
			out.Reclaimable += u.Size
		}
		if items {
			out.Items = append(out.Items, record(u))
		}
	}
	return out, nil
}

func record(u *client.UsageInfo) build.CacheRecord {
	return build.CacheRecord{
		ID: u.ID, Parents: u.Parents, Type: string(u.RecordType), Description: u.Description,
		InUse: u.InUse, Shared: u.Shared, Size: u.Size,
		CreatedAt: u.CreatedAt, LastUsedAt: u.LastUsedAt, UsageCount: u.UsageCount,
	}
}
