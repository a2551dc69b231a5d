package volumes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/moby/moby/api/types/volume"
)

// Usage counts what volumes without options take on the disk, each with its size and
// how many containers have it. items asks for the volumes themselves too.
func (s *Store) Usage(ctx context.Context, items bool) (*volume.DiskUsage, error) {
	list := s.list(func(v found) bool { return len(v.Options) == 0 })
	du := &volume.DiskUsage{TotalCount: int64(len(list)), ActiveCount: int64(len(list))}
	for _, v := range list {
		size, err := usage(ctx, v.Mountpoint)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.o.Log.Warn("the size of a volume is not known", "volume", v.Name, "err", err)
			size = -1
		}
		v.UsageData = &volume.UsageData{Size: size, RefCount: int64(v.refs)}
		if size >= 0 {
			du.TotalSize += size
			if !v.used {
				du.Reclaimable += size
				du.ActiveCount--
			}
		}
		if items {
			du.Items = append(du.Items, *v.Volume)
		}
	}
	return du, nil
}

// usage is the sum of the sizes of all that is no directory, each file once however
// many names it has.
func usage(ctx context.Context, dir string) (int64, error) {
	seen := map[[2]uint64]bool{}
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var st os.FileInfo
		if err == nil && !d.IsDir() {
			st, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || st == nil {
			return err
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Nlink > 1 {
			at := [2]uint64{uint64(sys.Dev), sys.Ino}
			if seen[at] {
				return nil
			}
			seen[at] = true
		}
		sum += st.Size()
		return nil
	})
	return sum, err
}
