package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

// Limits of the build cache in bytes. The zero value keeps at most three quarters
// of the disk, and, of what is more than a tenth of it, frees what was used longest
// ago while less than a fifth of the disk is free.
type Limits struct{ Reserved, MaxUsed, MinFree int64 }

const day = 24 * time.Hour

// policy is what is collected by itself after builds, the first rule first.
func (l Limits) policy(root string) []client.PruneInfo {
	if l == (Limits{}) {
		var st unix.Statfs_t
		if err := unix.Statfs(root, &st); err == nil {
			disk := int64(st.Blocks) * st.Bsize
			l = Limits{Reserved: disk / 10, MaxUsed: disk / 4 * 3, MinFree: disk / 5}
		}
	}
	rest := client.PruneInfo{ReservedSpace: l.Reserved, MaxUsedSpace: l.MaxUsed, MinFreeSpace: l.MinFree}
	old := rest
	old.KeepDuration = 60 * day
	all := rest
	all.All = true
	return []client.PruneInfo{
		// What is made again easily: contexts, cache mounts, clones.
		{Filter: []string{"type==source.local,type==exec.cachemount,type==source.git.checkout"}, KeepDuration: 2 * day, MaxUsedSpace: 512 << 20},
		old, rest, all,
	}
}

// DiskUsage lists the records of the cache.
func (b *Builder) DiskUsage(ctx context.Context) ([]*client.UsageInfo, error) {
	if !b.used() {
		return nil, nil
	}
	c, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all, err := c.DiskUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("usage of the build cache: %w", err)
	}
	return all, nil
}

// Prune removes records of the cache that nothing uses. Without All those stay that
// an image shares or a client's context is.
func (b *Builder) Prune(ctx context.Context, what client.PruneInfo) ([]client.UsageInfo, error) {
	if !b.used() {
		return nil, nil
	}
	c, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ch := make(chan client.UsageInfo)
	var gone []client.UsageInfo
	told := make(chan struct{})
	go func() {
		defer close(told)
		for u := range ch {
			gone = append(gone, u)
		}
	}()
	opts := []client.PruneOption{client.WithKeepOpt(what.KeepDuration, what.ReservedSpace, what.MaxUsedSpace, what.MinFreeSpace)}
	if what.All {
		opts = append(opts, client.PruneAll)
	}
	if len(what.Filter) > 0 {
		opts = append(opts, client.WithFilter(what.Filter))
	}
	err = b.room.with(func() error {
		err := c.Prune(ctx, ch, opts...)
		close(ch)
		<-told
		return errors.Join(err, b.o.Store.Collect(ctx))
	})
	if err != nil {
		return gone, fmt.Errorf("prune the build cache: %w", err)
	}
	return gone, nil
}
