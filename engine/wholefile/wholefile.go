// Package wholefile puts a file in the place of another as a whole: who reads sees
// what was there before or what is there now, also after a crash in between. It is
// how the rooms of the engine keep their records; what is in them is theirs.
package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace makes b the content of path. It holds when this process dies; what a loss of
// power leaves may be what was there before.
func Replace(path string, b []byte, mode fs.FileMode) error { return write(path, b, mode, false) }

// Keep is Replace that returns when the content and the name are on the disk.
func Keep(path string, b []byte, mode fs.FileMode) error {
	if err := write(path, b, mode, true); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// write goes by a file beside path that is taken away where it fails.
func write(path string, b []byte, mode fs.FileMode, sync bool) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if gone := os.Remove(tmp); !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}()
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// SyncDir returns when the names in a directory are on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
