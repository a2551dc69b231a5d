package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/logs"
)

// attachPatience is how long a client that does not read may hold a container's
// output up before it is dropped.
const attachPatience = 30 * time.Second

// buffers are used only while there is something to read, so that idle containers
// cost none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// output is one stream of a container: it is read to the log and to the clients
// that are attached.
type output struct {
	file  *os.File
	split logs.Splitter
	log   *logs.Writer
	done  chan struct{} // closed at the end of the stream

	stopped atomic.Bool

	mu      sync.Mutex
	clients map[*os.File]struct{}
	logErr  error
}

// openOutput wraps a descriptor that does not block.
func openOutput(fd int, stream string, log *logs.Writer) *output {
	return &output{
		file:    os.NewFile(uintptr(fd), stream),
		split:   logs.Splitter{Stream: stream},
		log:     log,
		done:    make(chan struct{}),
		clients: map[*os.File]struct{}{},
	}
}

// run copies until the last process that can write has closed the stream.
func (o *output) run() {
	defer close(o.done)
	conn, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	var lines []logs.Line
	for err == nil {
		var n int
		rerr := conn.Read(func(fd uintptr) bool {
			buf := buffers.Get().(*[]byte)
			defer buffers.Put(buf)
			n, err = unix.Read(int(fd), *buf)
			if errors.Is(err, unix.EAGAIN) {
				err = nil
				return false
			}
			if n > 0 {
				lines = o.take((*buf)[:n], lines[:0])
			}
			return true
		})
		switch {
		case errors.Is(err, unix.EINTR):
			err = nil
		case rerr != nil:
			err = rerr
		case n == 0 && err == nil:
			err = io.EOF
		}
	}
	o.end()
}

func (o *output) take(data []byte, lines []logs.Line) []logs.Line {
	if o.log != nil {
		lines = o.split.Split(time.Now(), data, lines)
		if len(lines) > 0 {
			o.wrote(o.log.Write(lines...))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.clients {
		c.SetWriteDeadline(time.Now().Add(attachPatience))
		if _, err := c.Write(data); err != nil {
			delete(o.clients, c)
			c.Close()
		}
	}
	return lines
}

// wrote notes a log that cannot be written, once: output must go on flowing when
// the disk is full.
func (o *output) wrote(err error) {
	if err != nil && (o.logErr == nil || o.logErr.Error() != err.Error()) {
		complain("log: %v", err)
	}
	o.logErr = err
}

func (o *output) end() {
	if o.log != nil {
		if rest := o.split.End(time.Now(), nil); len(rest) > 0 {
			rest[0].Partial = o.stopped.Load() // it may go on under another monitor
			o.wrote(o.log.Write(rest...))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.clients {
		c.Close()
	}
	o.clients = nil
	o.file.Close()
}

// attach sends the stream to fd as well, from now on.
func (o *output) attach(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "attached")
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.clients == nil {
		f.Close() // it has ended
		return f, nil
	}
	o.clients[f] = struct{}{}
	return f, nil
}

func (o *output) detach(f *os.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.clients, f)
	f.Close()
}

// stop makes run return: what processes write from now on waits in the pipe.
func (o *output) stop() {
	o.stopped.Store(true)
	o.file.SetReadDeadline(time.Unix(1, 0))
}
