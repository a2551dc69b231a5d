package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	v1 "k8s.io/api/core/v1"
)

func fsGroup(pod *v1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// groupBits are what fsGroup gives its group: reading and writing, and for
// directories entering and handing the group down.
const (
	groupFile = 0o660
	groupDir  = 0o770 | os.ModeSetgid
)

// own gives a writable volume to the pod's fsGroup. With the policy OnRootMismatch
// all of it is taken to be right where the top is.
// https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
func (v *Volumes) own(r *request, dir string) error {
	g := fsGroup(r.pod)
	if g == nil {
		return nil
	}
	if p := r.pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == v1.FSGroupChangeOnRootMismatch {
		if info, err := os.Stat(dir); err == nil && owned(info, *g) {
			return nil
		}
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return v.give(path, d.Type(), int(*g))
	})
}

// owned tells whether a directory has the group and the bits that own gives it.
func owned(info fs.FileInfo, gid int64) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(st.Gid) == gid && info.Mode()&groupDir == groupDir
}

func (v *Volumes) give(path string, t fs.FileMode, gid int) error {
	if err := v.o.Mounter.Chown(path, -1, gid); err != nil {
		return err
	}
	if t&fs.ModeSymlink != 0 {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSetuid | fs.ModeSticky)
	if info.IsDir() {
		mode |= groupDir
	} else {
		mode |= groupFile
	}
	return os.Chmod(path, mode)
}

// ownPayload is for files of the node's own making: the group may read them, not
// write.
func (v *Volumes) ownPayload(pod *v1.Pod) func(string, *file) error {
	g := fsGroup(pod)
	return func(path string, f *file) error {
		uid, gid := -1, -1
		if f != nil && f.uid != nil {
			uid = int(*f.uid)
		}
		if g != nil {
			gid = int(*g)
		}
		if uid < 0 && gid < 0 {
			return nil
		}
		if err := v.o.Mounter.Chown(path, uid, gid); err != nil {
			return err
		}
		if g == nil {
			return nil
		}
		if f == nil {
			return os.Chmod(path, 0o755|fs.ModeSetgid|0o070)
		}
		return os.Chmod(path, f.mode.Perm()|0o440)
	}
}
