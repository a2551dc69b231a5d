package containers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// capabilityXattr is the one extended attribute that archives carry.
const (
	capabilityXattr = "security.capability"
	paxXattr        = "SCHILY.xattr."
)

// writeTar writes what is at a path of the thread's root as a tar whose names begin
// with base; with self the thing itself comes too. It ends when ctx does.
func writeTar(ctx context.Context, w io.Writer, p, base string, self bool) error {
	t := &tarWriter{ctx: ctx, w: tar.NewWriter(w), links: map[[2]uint64]string{}}
	st, err := os.Lstat(p)
	if err != nil {
		return err
	}
	if self || !st.IsDir() {
		if err := t.add(p, base, st); err != nil {
			return err
		}
	}
	if st.IsDir() {
		if err := t.below(p, base); err != nil {
			return err
		}
	}
	return t.w.Close()
}

type tarWriter struct {
	ctx   context.Context
	w     *tar.Writer
	links map[[2]uint64]string // of files with several names, by device and inode
}

func (t *tarWriter) below(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		p, n := path.Join(dir, e.Name()), e.Name()
		if name == "." {
			n = "./" + n
		} else if name != "" {
			n = strings.TrimSuffix(name, "/") + "/" + n
		}
		st, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := t.add(p, n, st); err != nil {
			return err
		}
		if st.IsDir() {
			if err := t.below(p, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tarWriter) add(p, name string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no status", p)
	}
	h := &tar.Header{
		Name: name, Mode: int64(sys.Mode & 0o7777), Uid: int(sys.Uid), Gid: int(sys.Gid), ModTime: st.ModTime().Truncate(time.Second), Format: tar.FormatPAX,
	}
	switch sys.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size()
		if sys.Nlink > 1 {
			key := [2]uint64{sys.Dev, sys.Ino}
			if first, ok := t.links[key]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			} else {
				t.links[key] = name
			}
		}
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFLNK:
		to, err := os.Readlink(p)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, to
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if sys.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(sys.Rdev)), int64(unix.Minor(sys.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // sockets are not archived
	}
	if h.Typeflag != tar.TypeReg {
		return t.w.WriteHeader(h)
	}
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	attr := make([]byte, 64)
	if n, err := unix.Lgetxattr(p, capabilityXattr, attr); err == nil {
		h.PAXRecords = map[string]string{paxXattr + capabilityXattr: string(attr[:n])}
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t.w, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%s has become shorter while it was read", p)
	}
	return err
}

type owner struct{ uid, gid int }

type extractOptions struct {
	// keepDirs refuses to put a file in a directory's place, and the other way round.
	keepDirs bool
	owner    *owner // of everything, instead of what the archive says
}

func untarInto(ctx context.Context, dir string, r io.Reader) error {
	return extract(ctx, dir, r, extractOptions{})
}

// extract unpacks a tar below dir. Nothing is written outside of it, whatever names
// and links say.
func extract(ctx context.Context, dir string, r io.Reader, o extractOptions) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	x := &extractor{root: root, dir: dir, o: o}
	in := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if errors.Is(err, tar.ErrHeader) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if err := x.entry(h, in); err != nil {
			return err
		}
	}
}

type extractor struct {
	root *os.Root
	dir  string
	o    extractOptions
	dirs []dirTime
}

// dirTime is a directory whose time is set when nothing is put into it any more.
type dirTime struct {
	name string
	at   time.Time
}

func (x *extractor) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		if err := x.root.Chtimes(d.name, d.at, d.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (x *extractor) entry(h *tar.Header, in io.Reader) error {
	name := path.Clean(h.Name)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("invalid entry name %q", h.Name)
		}
		return x.attributes(name, h)
	}
	name = strings.TrimPrefix(name, "/")
	if !filepath.IsLocal(name) {
		return fmt.Errorf("invalid entry name %q", h.Name)
	}
	if dir := path.Dir(name); dir != "." {
		if err := x.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := x.makeRoom(name, h); err != nil {
		return err
	}
	mode := fs.FileMode(h.Mode & 0o777)
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = x.root.Mkdir(name, mode)
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		x.dirs = append(x.dirs, dirTime{name, h.ModTime})
	case tar.TypeReg:
		err = x.file(name, mode, in)
	case tar.TypeSymlink:
		err = x.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		to := strings.TrimPrefix(path.Clean(h.Linkname), "/")
		if !filepath.IsLocal(to) {
			return fmt.Errorf("invalid hardlink %q -> %q", h.Name, h.Linkname)
		}
		err = x.root.Link(to, name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = x.node(name, h)
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("unhandled tar header type %d", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return x.attributes(name, h)
}

// makeRoom removes what an entry takes the place of. A directory stays for a
// directory.
func (x *extractor) makeRoom(name string, h *tar.Header) error {
	st, err := x.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch isDir := h.Typeflag == tar.TypeDir; {
	case x.o.keepDirs && st.IsDir() && !isDir:
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", name, x.dir)
	case x.o.keepDirs && !st.IsDir() && isDir:
		return fmt.Errorf("cannot overwrite non-directory %q with directory %q", name, x.dir)
	case st.IsDir() && isDir:
		return nil
	}
	return x.root.RemoveAll(name)
}

func (x *extractor) file(name string, mode fs.FileMode, in io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// node makes a device or a FIFO, by its directory's descriptor.
func (x *extractor) node(name string, h *tar.Header) error {
	dir, err := x.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	default:
		mode |= unix.S_IFIFO
	}
	return unix.Mknodat(int(dir.Fd()), path.Base(name), mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
}

// attributes gives an entry its owner, mode and time; those of a hard link are its
// target's.
func (x *extractor) attributes(name string, h *tar.Header) error {
	own := owner{h.Uid, h.Gid}
	if x.o.owner != nil {
		own = *x.o.owner
	}
	if err := x.root.Lchown(name, own.uid, own.gid); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	if h.Typeflag == tar.TypeLink {
		if st, err := x.root.Lstat(name); err != nil || st.Mode()&fs.ModeSymlink != 0 {
			return err
		}
	}
	if err := x.root.Chmod(name, h.FileInfo().Mode()); err != nil {
		return err
	}
	if v := h.PAXRecords[paxXattr+capabilityXattr]; v != "" && h.Typeflag == tar.TypeReg {
		f, err := x.root.Open(name)
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(int(f.Fd()), capabilityXattr, []byte(v), 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeLink {
		return nil
	}
	return x.root.Chtimes(name, h.ModTime, h.ModTime)
}
