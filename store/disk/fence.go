package disk

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFenced is what a database that has been given up gets for its writes.
var errFenced = errors.New("this database has been given up after a failed write")

// fence is the file system of one open database. Once shut, nothing that the
// database's goroutines still do reaches the disk, so that the directory can be
// opened anew in the same process. It remembers the first write that failed.
type fence struct {
	vfs.FS
	mu   sync.RWMutex
	down bool

	errMu   sync.Mutex
	err     error
	syncErr error // the first sync that failed, if not for want of space
}

// shut returns when the last write under way has ended.
func (f *fence) shut() {
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
}

// failure is the first write that failed, or nil.
func (f *fence) failure() error {
	f.errMu.Lock()
	defer f.errMu.Unlock()
	return f.err
}

// syncFailure is the first sync that failed for another reason than want of space,
// or nil. The kernel may then have dropped what was written while it still shows it:
// no later success says anything about it.
func (f *fence) syncFailure() error {
	f.errMu.Lock()
	defer f.errMu.Unlock()
	return f.syncErr
}

// sync is do for operations that make writes durable.
func (f *fence) sync(op func() error) error {
	return f.do(func() error {
		err := op()
		if err != nil && !noSpace(err) {
			f.errMu.Lock()
			if f.syncErr == nil {
				f.syncErr = err
			}
			f.errMu.Unlock()
		}
		return err
	})
}

func (f *fence) do(op func() error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.down {
		return errFenced
	}
	err := op()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.errMu.Lock()
		if f.err == nil {
			f.err = err
		}
		f.errMu.Unlock()
	}
	return err
}

func (f *fence) open(op func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.do(func() error { file, err = op(); return err })
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: file, f: f}, nil
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	return f.open(func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *fence) Link(oldname, newname string) error {
	return f.do(func() error { return f.FS.Link(oldname, newname) })
}

func (f *fence) Remove(name string) error {
	return f.do(func() error { return f.FS.Remove(name) })
}

func (f *fence) RemoveAll(name string) error {
	return f.do(func() error { return f.FS.RemoveAll(name) })
}

func (f *fence) Rename(oldname, newname string) error {
	return f.do(func() error { return f.FS.Rename(oldname, newname) })
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	return f.do(func() error { return f.FS.MkdirAll(dir, perm) })
}

// Lock does nothing: the Store holds the lock of the directory, for longer than
// any one database.
func (f *fence) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (f *fence) Unwrap() vfs.FS { return f.FS }

type fencedFile struct {
	vfs.File
	f *fence
}

func (f *fencedFile) Write(p []byte) (n int, err error) {
	err = f.f.do(func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *fencedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.f.do(func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *fencedFile) Preallocate(offset, length int64) error {
	return f.f.do(func() error { return f.File.Preallocate(offset, length) })
}

func (f *fencedFile) Sync() error     { return f.f.sync(f.File.Sync) }
func (f *fencedFile) SyncData() error { return f.f.sync(f.File.SyncData) }

func (f *fencedFile) SyncTo(length int64) (full bool, err error) {
	err = f.f.sync(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}
