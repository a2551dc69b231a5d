package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	if ready, err := v.ready(r, e.Medium); ready || err != nil {
		return m, err
	}
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
	if err := v.own(r, r.dir); err != nil {
		return m, err
	}
	return m, v.setReady(r)
}

// ready tells whether the directory was made whole before: what the pod has done
// with it since, to owners and modes too, is the pod's. One of memory is gone after
// a restart of the machine.
func (v *Volumes) ready(r *request, medium v1.StorageMedium) (bool, error) {
	for _, path := range []string{v.readyFile(r), r.dir} {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	if medium == v1.StorageMediumMemory {
		return v.o.Mounter.IsMount(r.dir)
	}
	return true, nil
}

// readyFile lies beside the pod's volumes and goes with them.
func (v *Volumes) readyFile(r *request) string {
	return filepath.Join(v.podDir(r.pod.UID), "volumes", ".ready-"+r.vol.Name)
}

func (v *Volumes) setReady(r *request) error { return os.WriteFile(v.readyFile(r), nil, 0o600) }

// tmpfs mounts memory at dir unless it is mounted already.
func (v *Volumes) tmpfs(dir string, size int64, mode os.FileMode) error {
	is, err := v.o.Mounter.IsMount(dir)
	if err != nil || is {
		return err
	}
	return v.o.Mounter.Tmpfs(dir, size, mode)
}
