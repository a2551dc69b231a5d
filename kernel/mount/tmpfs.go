package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Tmpfs mounts memory at target; size 0 is the kernel's default, half of the
// machine's memory.
func Tmpfs(target string, size int64, mode os.FileMode) error {
	opts := fmt.Sprintf("mode=%04o", mode.Perm())
	if size > 0 {
		opts += ",size=" + strconv.FormatInt(size, 10)
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", 0, opts); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", target, err)
	}
	return nil
}

// Unmount takes the topmost mount at target away; where nothing is mounted it does
// nothing.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// BindIn binds what sub names below root at target. Links in sub are followed as
// if root were "/", so the result cannot lie outside, and it is the very file that
// was looked up that is bound, whatever happens to its name meanwhile. Target is
// made as a file or a directory, as what is found.
func BindIn(root, sub, target string) error {
	r, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(r)
	fd, err := openIn(r, sub)
	if err != nil {
		return fmt.Errorf("look up %s in %s: %w", sub, root, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s in %s: %w", sub, root, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.MkdirAll(target, 0o755)
	} else {
		var f *os.File
		if f, err = os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
			f.Close()
		}
	}
	if err != nil {
		return err
	}
	return Bind(fmt.Sprintf("/proc/self/fd/%d", fd), target)
}

// MkdirIn makes sub and its parents below root, with links followed as if root
// were "/". What exists stays.
func MkdirIn(root, sub string, mode os.FileMode) error {
	r, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(r)
	path := ""
	for _, part := range split(sub) {
		parent := path
		path += "/" + part
		fd, err := openIn(r, path)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("look up %s in %s: %w", path, root, err)
		}
		if err := mkdirAt(r, parent, part, mode); err != nil {
			return fmt.Errorf("make %s in %s: %w", path, root, err)
		}
	}
	return nil
}

func mkdirAt(root int, parent, name string, mode os.FileMode) error {
	p, err := openIn(root, "/"+parent)
	if err != nil {
		return err
	}
	defer unix.Close(p)
	if err := unix.Mkdirat(p, name, uint32(mode.Perm())); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

func openIn(root int, sub string) (int, error) {
	return unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

func split(path string) []string {
	var out []string
	start := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if part := path[start:i]; part != "" && part != "." {
			out = append(out, part)
		}
		start = i + 1
	}
	return out
}
