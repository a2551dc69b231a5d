package logs

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch tells when a log may hold more: the file is written to, or another file
// takes its place.
type watch struct {
	file   *os.File
	wakeup chan struct{}
}

// newWatch watches the directory, which sees writes to the file and its being
// renamed and created anew alike.
func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (see fs.inotify.max_user_instances)", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "watch", Path: dir, Err: err}
	}
	w := &watch{file: f, wakeup: make(chan struct{}, 1)}
	go w.run(base)
	return w, nil
}

// run wakes the reader when an event concerns the file. It ends with Close.
func (w *watch) run(base string) {
	buf := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		if concerns(buf[:n], base) {
			select {
			case w.wakeup <- struct{}{}:
			default:
			}
		}
	}
}

// concerns tells whether one of the inotify events in buf names base, or whether
// events were lost.
func concerns(buf []byte, base string) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		if mask&unix.IN_Q_OVERFLOW != 0 || size > len(buf)-unix.SizeofInotifyEvent {
			return true
		}
		name := buf[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+size]
		if unix.ByteSliceToString(name) == base {
			return true
		}
		buf = buf[unix.SizeofInotifyEvent+size:]
	}
	return false
}

// wait returns when there may be more to read, when done is closed, or with ctx's
// error.
func (w *watch) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-w.wakeup:
		return nil
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the watch.
func (w *watch) Close() error { return w.file.Close() }
