package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/kernel/mount"
)

// skeleton is what is mounted over in every container, by path; names that end in
// "/" are directories, others empty files, and values targets of links.
var skeleton = []struct{ path, link string }{
	{".dockerenv", ""}, {"dev/", ""}, {"dev/console", ""}, {"dev/pts/", ""}, {"dev/shm/", ""},
	{"etc/", ""}, {"etc/hostname", ""}, {"etc/hosts", ""}, {"etc/mtab", "/proc/mounts"}, {"etc/resolv.conf", ""},
	{"proc/", ""}, {"sys/", ""},
}

func (l *Local) skeletonDir() string { return filepath.Join(l.o.Root, "skeleton") }

// makeSkeleton makes the layer once; another process may have been at it.
func (l *Local) makeSkeleton() error {
	dir := l.skeletonDir()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(l.o.Root, "skeleton-")
	if err != nil {
		return noSpace(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, s := range skeleton {
		p := filepath.Join(tmp, s.path)
		switch {
		case s.link != "":
			err = os.Symlink(s.link, p)
		case strings.HasSuffix(s.path, "/"):
			err = os.Mkdir(p, 0o755)
		default:
			err = os.WriteFile(p, nil, 0o755)
		}
		if err != nil {
			return noSpace(err)
		}
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// Layers implements engine.Files.
func (l *Local) Layers(ctx context.Context, id string) (string, []string, error) {
	c, err := l.lookup(id)
	if err != nil {
		return "", nil, err
	}
	var lower []string
	for _, d := range c.record.Lower {
		lower = append(lower, l.layer(d))
	}
	return filepath.Join(l.stateDir(c.record.Spec.ID), "upper"), lower, nil
}

// InRoot implements engine.Files.
func (l *Local) InRoot(ctx context.Context, id string, o engine.RootOptions, f func() error) error {
	c, err := l.lookup(id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	pid := c.now.PID
	l.mu.Unlock()
	if pid != 0 && !o.Bare {
		err := onThread(func() error { return enterMounts(pid) }, f)
		var gone *enterError
		if !errors.As(err, &gone) {
			return err
		}
		// It has ended meanwhile: its files are those of one that does not run.
	}
	if o.Write {
		c.op.Lock()
		defer c.op.Unlock()
	}
	upper, lower, err := l.Layers(ctx, id)
	if err != nil {
		return err
	}
	root := mount.Overlay{Lower: append([]string{upper}, lower...)}
	if o.Write {
		root = mount.Overlay{Lower: lower, Upper: upper, Work: filepath.Join(l.stateDir(c.record.Spec.ID), "work")}
	}
	target, err := os.MkdirTemp(l.o.RunDir, "root-")
	if err != nil {
		return err
	}
	defer os.Remove(target)
	return onThread(func() error { return enterRoot(root, target, slices.Clone(o.Binds)) }, f)
}

// enterError is a failure to get into a container's root.
type enterError struct{ err error }

func (e *enterError) Error() string { return "enter the container's root: " + e.err.Error() }
func (e *enterError) Unwrap() error { return e.err }

// onThread calls enter and f on a thread that ends with them.
func onThread(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is of no use to others and ends.
		runtime.LockOSThread()
		if err := enter(); err != nil {
			done <- &enterError{err}
			return
		}
		done <- f()
	}()
	return <-done
}

// enterMounts makes the mounts and the root of a process this thread's.
func enterMounts(pid int) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(fd, unix.CLONE_NEWNS)
}

// enterRoot mounts a root with binds in it, in mounts of this thread's own, and
// makes it the thread's root.
func enterRoot(o mount.Overlay, target string, binds []engine.Mount) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // unshares CLONE_FS too
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := o.Mount(target); err != nil {
		return err
	}
	slices.SortStableFunc(binds, func(a, b engine.Mount) int {
		return strings.Count(path.Clean(a.Target), "/") - strings.Count(path.Clean(b.Target), "/")
	})
	for _, b := range binds {
		if err := bindIn(target, b); err != nil {
			return err
		}
	}
	if err := unix.Chroot(target); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// bindIn binds at a path below root, whatever links are on the way. What is not
// there in a root that cannot be written is left out.
func bindIn(root string, b engine.Mount) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	at, err := unix.Openat2(dir, b.Target, &how)
	if errors.Is(err, unix.ENOENT) {
		if pointIn(root, dir, b) != nil {
			return nil
		}
		at, err = unix.Openat2(dir, b.Target, &how)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.Target, err)
	}
	defer unix.Close(at)
	to := fmt.Sprintf("/proc/self/fd/%d", at)
	if err := unix.Mount(b.Source, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", b.Source, b.Target, err)
	}
	if !b.ReadOnly {
		return nil
	}
	over, err := unix.Openat2(dir, b.Target, &how)
	if err != nil {
		return err
	}
	defer unix.Close(over)
	return unix.MountSetattr(over, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// pointIn makes the place of a bind: a directory for a directory, an empty file for
// everything else.
func pointIn(root string, dir int, b engine.Mount) error {
	target := path.Clean(b.Target)
	st, err := os.Stat(b.Source)
	if err != nil || st.IsDir() {
		return mount.MkdirIn(root, strings.TrimPrefix(target, "/"), 0o755)
	}
	parent := path.Dir(target)
	if err := mount.MkdirIn(root, strings.TrimPrefix(parent, "/"), 0o755); err != nil {
		return err
	}
	at, err := unix.Openat2(dir, parent, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd, err := unix.Openat(at, path.Base(target), unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Size implements engine.Files.
func (l *Local) Size(ctx context.Context, id string) (own, all int64, err error) {
	upper, lower, err := l.Layers(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	n, _ := diskUsed(upper)
	own = int64(n)
	all = own
	for _, d := range lower {
		n, _ := diskUsed(d)
		all += int64(n)
	}
	return own, all, nil
}

// Changes implements engine.Files.
func (l *Local) Changes(ctx context.Context, id string) ([]engine.Change, error) {
	upper, lower, err := l.Layers(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []engine.Change
	err = filepath.WalkDir(upper, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil || p == upper {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return nil
		}
		rel := strings.TrimPrefix(p, upper)
		below := inLayers(lower, rel)
		c := engine.Change{Path: rel, ModTime: st.ModTime(), Size: st.Size()}
		switch {
		case isWhiteout(st):
			c.Kind, c.Size = engine.Deleted, 0
			if below == nil {
				return nil
			}
		case below == nil:
			c.Kind = engine.Added
		default:
			c.Kind = engine.Modified
		}
		out = append(out, c)
		if st.IsDir() && below != nil && opaque(p) {
			out = append(out, hiddenBy(lower, upper, rel)...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("changes of %s: %w", id, err)
	}
	slices.SortFunc(out, func(a, b engine.Change) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func isWhiteout(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode()&fs.ModeCharDevice != 0 && s.Rdev == 0
}

func opaque(dir string) bool {
	b := make([]byte, 1)
	n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", b)
	return err == nil && n == 1 && b[0] == 'y'
}

// inLayers is what the layers show at a path, nil for nothing.
func inLayers(layers []string, rel string) fs.FileInfo {
	for _, layer := range layers {
		st, err := os.Lstat(layer + rel)
		if err == nil {
			if isWhiteout(st) {
				return nil
			}
			return st
		}
		// A directory above may hide what is further below.
		for dir := path.Dir(rel); dir != "/" && dir != "."; dir = path.Dir(dir) {
			st, err := os.Lstat(layer + dir)
			if err == nil && (isWhiteout(st) || !st.IsDir() || opaque(layer+dir)) {
				return nil
			}
		}
	}
	return nil
}

// hiddenBy lists what an opaque directory hides of the layers below it.
func hiddenBy(layers []string, upper, rel string) []engine.Change {
	seen := map[string]bool{}
	var out []engine.Change
	for _, layer := range layers {
		for _, name := range listDir(layer + rel) {
			p := path.Join(rel, name)
			if seen[p] {
				continue
			}
			seen[p] = true
			if _, err := os.Lstat(upper + p); err == nil || inLayers(layers, p) == nil {
				continue
			}
			out = append(out, engine.Change{Path: p, Kind: engine.Deleted})
		}
	}
	return out
}
