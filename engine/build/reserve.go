package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// reserve is room on the disk that is given back when the disk is full: to take
// things away, the databases that know of them have to be written.
type reserve struct {
	mu   sync.Mutex
	path string
}

// reserveSize is some commits of the cache's databases and the image store's.
const reserveSize = 8 << 20

func newReserve(root string) *reserve { return &reserve{path: filepath.Join(root, "reserve")} }

// fill takes the room if it is not taken. A disk without it has none to give back.
func (r *reserve) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); errors.Is(err, unix.ENOSPC) {
		return errors.Join(os.Remove(r.path))
	}
	return err
}

// with gives the room back, does f, and takes it again.
func (r *reserve) with(f func() error) error {
	r.mu.Lock()
	err := os.Remove(r.path)
	r.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f(), r.fill())
}

// relieve frees what a build has left that filled the disk.
func (b *Builder) relieve(ctx context.Context) error {
	// fsutil leaves the file open that it could not write, and with it the room that
	// the file has taken, until the file is collected.
	runtime.GC()
	return b.room.with(func() error { return b.o.Store.Collect(context.WithoutCancel(ctx)) })
}
