package disk

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// private is the machine's file system with files that their owner alone may read:
// all secrets of the cluster are in them.
type private struct{ vfs.FS }

func (p private) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, c)
	return own(name, f, err)
}

func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, c, opts...)
	return own(name, f, err)
}

func (p private) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.ReuseForWrite(oldname, newname, c)
	return own(newname, f, err)
}

func (p private) Lock(name string) (io.Closer, error) {
	f, err := p.FS.Lock(name)
	return own(name, f, err)
}

func own[F io.Closer](name string, f F, err error) (F, error) {
	if err == nil {
		if err = os.Chmod(name, 0o600); err != nil {
			f.Close()
		}
	}
	return f, err
}
