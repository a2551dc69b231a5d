package volume

import (
	"context"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
)

// mountEmptyDir makes a directory that lives as long as the pod: on disk, or in
// memory with medium Memory, where sizeLimit is the filesystem's own.
// https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
func mountEmptyDir(_ context.Context, v *Volumes, r *request) (Mount, error) {
	e := r.vol.EmptyDir
	if e == nil {
		e = &v1.EmptyDirVolumeSource{}
	}
	m := Mount{Path: r.dir}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return m, err
	}
	switch e.Medium {
	case v1.StorageMediumDefault:
	case v1.StorageMediumMemory:
		size := int64(0)
		if e.SizeLimit != nil {
			size = e.SizeLimit.Value()
		}
		if err := v.tmpfs(r.dir, size, 0o777); err != nil {
			return m, err
		}
	default:
		return m, fmt.Errorf("unknown storage medium %q", e.Medium)
	}
	// Any user of the pod may write, whatever the umask.
	if err := os.Chmod(r.dir, 0o777); err != nil {
		return m, err
	}
	return m, v.own(r, r.dir)
}

// tmpfs mounts memory at dir unless it is mounted already.
func (v *Volumes) tmpfs(dir string, size int64, mode os.FileMode) error {
	is, err := v.o.Mounter.IsMount(dir)
	if err != nil || is {
		return err
	}
	return v.o.Mounter.Tmpfs(dir, size, mode)
}
