package builds

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/compression"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// Limits of a context, so that a small archive cannot fill the disk.
const (
	maxContextBytes   = 32 << 30
	maxContextEntries = 1 << 20
	maxDockerfile     = 4 << 20
	maxPadding        = 1 << 20
)

// receive unpacks the archive of a client into dir, and nothing outside of it.
func receive(dir string, body io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in, err := decompress(body)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := unpackContext(root, in, maxContextBytes, maxContextEntries); err != nil {
		return err
	}
	// What follows the archive's end is padding: the connection is to be used again.
	_, err = io.Copy(io.Discard, io.LimitReader(body, maxPadding))
	return err
}

// decompress finds out how an archive is packed.
func decompress(body io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(body, 256<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(in)), nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, route.Invalidf("a context packed by xz is not supported: use gzip or zstd")
	case len(head) < 6:
		return io.NopCloser(in), nil
	}
	return compression.DecompressStream(in)
}

// ContextError says what of a context is refused.
type ContextError struct{ Name, Why string }

func (e *ContextError) Error() string { return fmt.Sprintf("context entry %q: %s", e.Name, e.Why) }

func unpackContext(root *os.Root, in io.Reader, maxBytes int64, maxEntries int) error {
	t := tar.NewReader(in)
	var bytes int64
	type stamp struct {
		name string
		at   time.Time
	}
	var dirs []stamp // their times are set when all is in them
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if bytes += h.Size; n >= maxEntries || bytes > maxBytes || h.Size < 0 {
			return route.Invalid(&ContextError{h.Name, fmt.Sprintf("the context is larger than %d bytes or %d entries", maxBytes, maxEntries)})
		}
		name := path.Clean(strings.TrimLeft(h.Name, "/"))
		if name == ".." || strings.HasPrefix(name, "../") {
			return route.Invalid(&ContextError{h.Name, "outside the context"})
		}
		if name == "." || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := unpackEntry(root, name, h, t); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, stamp{name, h.ModTime})
		}
	}
	for _, d := range dirs {
		// It may have been replaced by something else since.
		if err := root.Chtimes(d.name, d.at, d.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func unpackEntry(root *os.Root, name string, h *tar.Header, in io.Reader) error {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(h.Mode).Perm()
	if h.Typeflag != tar.TypeDir {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeReg, '\x00':
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeLink:
		to := path.Clean(strings.TrimLeft(h.Linkname, "/"))
		if to == ".." || strings.HasPrefix(to, "../") {
			return route.Invalid(&ContextError{h.Name, "a link to outside the context"})
		}
		return root.Link(to, name)
	default:
		return route.Invalid(&ContextError{h.Name, "neither a file, a directory nor a link"})
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	// After the owner, whose change takes these bits away.
	if h.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if h.Mode&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if h.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	if err := root.Chmod(name, mode); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// fetchContext gets a context from where a URL points: a git repository, an archive
// or a Dockerfile alone.
func fetchContext(ctx context.Context, dir, remote string) error {
	if isGit(remote) {
		return clone(ctx, dir, remote)
	}
	u, err := url.Parse(remote)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return route.Internalf("remoteURL (%s) could not be recognized as URL", remote)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, remote, nil)
	if err != nil {
		return route.Invalid(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return route.Internalf("error downloading remote context %s: %w", remote, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) //nolint:errcheck // only the words of a failure
		return route.Internalf("error downloading remote context %s: failed to GET %s with status %s: %s", remote, remote, resp.Status, b)
	}
	in := bufio.NewReader(resp.Body)
	head, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return route.Internalf("error downloading remote context %s: %w", remote, err)
	}
	if isArchive(head) {
		return receive(dir, in)
	}
	b, err := io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	if err != nil {
		return route.Internalf("error downloading remote context %s: %w", remote, err)
	}
	if len(b) > maxDockerfile {
		return route.Invalid(&ContextError{remote, fmt.Sprintf("a Dockerfile of more than %d bytes", maxDockerfile)})
	}
	return os.WriteFile(path.Join(dir, defaultDockerfile), b, 0o600)
}

func isArchive(head []byte) bool {
	packed := compression.DetectCompression(head) != compression.Uncompressed || bytes.HasPrefix(head, []byte("BZh"))
	return packed || len(head) > 262 && string(head[257:262]) == "ustar"
}

func isGit(remote string) bool {
	for _, p := range []string{"git://", "github.com/", "git@", "ssh://"} {
		if strings.HasPrefix(remote, p) {
			return true
		}
	}
	u, err := url.Parse(remote)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.HasSuffix(u.Path, ".git")
}

// clone checks a repository out; what follows # is a reference and a directory.
func clone(ctx context.Context, dir, remote string) error {
	if strings.HasPrefix(remote, "github.com/") {
		remote = "https://" + remote
	}
	repo, fragment, _ := strings.Cut(remote, "#")
	ref, sub, _ := strings.Cut(fragment, ":")
	if ref == "" {
		ref = "HEAD"
	}
	if strings.HasPrefix(repo, "-") || strings.HasPrefix(ref, "-") {
		return route.Invalidf("invalid git repository %q", remote)
	}
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", repo}, {"fetch", "-q", "--depth", "1", "--recurse-submodules=yes", "origin", "--", ref}, {"checkout", "-q", "FETCH_HEAD"}} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_PROTOCOL_FROM_USER=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return route.Internalf("error initializing context: failed to fetch %s: %w: %s", remote, err, bytes.TrimSpace(out))
		}
	}
	if sub == "" {
		return nil
	}
	return narrow(dir, sub)
}

// narrow makes a directory of the context the whole of it.
func narrow(dir, sub string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	inner, err := root.OpenRoot(path.Clean(sub))
	if err != nil {
		return route.Invalidf("error setting up context: %w", err)
	}
	defer inner.Close()
	const moved = ".skiff-context"
	if err := root.Rename(path.Clean(sub), moved); err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != moved {
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	entries, err = fs.ReadDir(inner.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.Rename(path.Join(moved, e.Name()), e.Name()); err != nil {
			return err
		}
	}
	return root.RemoveAll(moved)
}
