package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
)

// mountHostPath gives a path of the machine after the check that its type asks
// for. Messages are the kubelet's.
// https://kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types
func mountHostPath(_ context.Context, _ *Volumes, r *request) (Mount, error) {
	return hostPath(r.vol.HostPath)
}

func hostPath(h *v1.HostPathVolumeSource) (Mount, error) {
	kind := v1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	m := Mount{Path: h.Path}
	if kind == v1.HostPathUnset {
		// A runtime makes what is missing as a directory.
		if _, err := os.Stat(h.Path); errors.Is(err, os.ErrNotExist) {
			return m, os.MkdirAll(h.Path, 0o755)
		}
		return m, nil
	}
	info, err := os.Stat(h.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	exists := err == nil
	switch kind {
	case v1.HostPathDirectoryOrCreate:
		if !exists {
			return m, os.MkdirAll(h.Path, 0o755)
		}
		return m, check(info.IsDir(), h.Path, "is not a directory")
	case v1.HostPathDirectory:
		return m, check(exists && info.IsDir(), h.Path, "is not a directory")
	case v1.HostPathFileOrCreate:
		if !exists {
			f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return m, err
			}
			return m, f.Close()
		}
		return m, check(info.Mode().IsRegular(), h.Path, "is not a file")
	case v1.HostPathFile:
		return m, check(exists && info.Mode().IsRegular(), h.Path, "is not a file")
	case v1.HostPathSocket:
		return m, check(exists && info.Mode()&os.ModeSocket != 0, h.Path, "is not a socket file")
	case v1.HostPathCharDev:
		return m, check(exists && info.Mode()&os.ModeCharDevice != 0, h.Path, "is not a character device")
	case v1.HostPathBlockDev:
		return m, check(exists && info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0, h.Path, "is not a block device")
	}
	return m, fmt.Errorf("%s is an invalid volume type", kind)
}

func check(ok bool, path, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("hostPath type check failed: %s %s", path, what)
}
