package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// file is one file of a payload.
type file struct {
	data []byte
	mode os.FileMode
	uid  *int64 // owner, where not root
}

// payload is what a volume's directory should hold, by relative path.
type payload map[string]file

const dataLink = "..data"

// writeAtomically brings dir to hold exactly p, so that whoever reads sees all of
// the old or all of the new: files live in a directory of their own, the link
// ..data names the current one, names at the top are links through it, and an
// update is one rename of that link. Existing names at the top stay the same links
// and so need no change. Those are the promises of Kubernetes' ConfigMap volumes.
// It reports whether something changed; own is called for every directory and file
// before it becomes visible.
func writeAtomically(dir string, p payload, own func(path string, f *file) error) (changed bool, err error) {
	for name := range p {
		if err := validName(name); err != nil {
			return false, err
		}
	}
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if current != "" && same(filepath.Join(dir, current), p) {
		// A crash may have come between the rename and what follows it.
		return false, tidy(dir, current, p)
	}
	fresh, err := os.MkdirTemp(dir, "..data_")
	if err != nil {
		return false, err
	}
	if err := fill(fresh, p, own); err != nil {
		return false, errors.Join(err, os.RemoveAll(fresh))
	}
	tmp := filepath.Join(dir, "..data_tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Symlink(filepath.Base(fresh), tmp); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return false, err
	}
	return true, tidy(dir, filepath.Base(fresh), p)
}

// validName keeps a payload inside its directory and away from our own names.
func validName(name string) error {
	if name == "" || !filepath.IsLocal(name) || name == "." {
		return fmt.Errorf("invalid path: %q", name)
	}
	if strings.HasPrefix(name, "..") {
		return fmt.Errorf("invalid path: must not start with '..': %s", name)
	}
	return nil
}

// same compares the files below dir with p.
func same(dir string, p payload) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, ok := p[rel]
		if !ok {
			return fs.ErrNotExist
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// fsGroup may add to the mode; what was asked for must be there.
		if !bytes.Equal(have, want.data) || info.Mode().Perm()&want.mode.Perm() != want.mode.Perm() {
			return fs.ErrInvalid
		}
		n++
		return nil
	})
	return err == nil && n == len(p)
}

func fill(dir string, p payload, own func(string, *file) error) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := own(dir, nil); err != nil {
		return err
	}
	for name, f := range p {
		path := filepath.Join(dir, name)
		for d := filepath.Dir(name); d != "."; d = filepath.Dir(d) {
			made := filepath.Join(dir, d)
			if err := os.MkdirAll(made, 0o755); err != nil {
				return err
			}
			if err := own(made, nil); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, f.data, f.mode.Perm()); err != nil {
			return err
		}
		// WriteFile is subject to the umask.
		if err := os.Chmod(path, f.mode.Perm()); err != nil {
			return err
		}
		if err := own(path, &f); err != nil {
			return err
		}
	}
	return nil
}

// tidy makes the links at the top be those of p, and removes what is not current.
func tidy(dir, current string, p payload) error {
	top := map[string]bool{}
	for name := range p {
		first, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		top[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == dataLink || name == current:
		case top[name]:
			delete(top, name)
		default:
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for name := range top {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
