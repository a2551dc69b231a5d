package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileError names a file of the PKI directory that cannot be used, and why.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("pki: %s: %v", e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

// read returns a file's bytes, nil when it does not exist.
func read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &FileError{path, err}
	}
	return b, nil
}

// WriteFile replaces path by data, readable for the owner alone. After a crash
// the path holds either the old or the new bytes, never a part.
func WriteFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &FileError{dir, err}
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return &FileError{path, err}
	}
	tmp := f.Name()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return &FileError{path, err}
	}
	d, err := os.Open(dir)
	if err != nil {
		return &FileError{dir, err}
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return &FileError{dir, err}
	}
	return nil
}
