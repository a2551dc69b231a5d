package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is one request and its answer. What is not said to be the handler's is under
// conn.mu.
type stream struct {
	c      *conn
	id     uint32
	window int64 // of what the client takes
	err    error // why nothing may be written any more

	ended        bool // the client has sent all
	received     int  // bytes that the client may send
	credit       int  // bytes that were read and the client has not been told of
	declared     int64
	arrivedBytes int64
	arrived      sync.Cond // something of the body, or its end
	body         *body     // nil: there is none
	continues    bool      // the client waits until the body is asked for
	trailer      http.Header

	ctx streamContext
	response
}

var (
	errReset    = errors.New("h2: the stream was reset")
	errFinished = errors.New("h2: the handler has returned")
)

func (c *conn) newStream(id uint32, ended bool) *stream {
	st := &stream{c: c, id: id, window: c.initial, ended: ended, received: receiveWindow, declared: -1}
	st.ctx.Context = c.base
	st.response.st = st
	if !ended {
		st.arrived.L = &c.mu
		st.body = &body{st: st}
	}
	return st
}

// close ends a stream at once.
func (c *conn) close(st *stream, err error) {
	if st.err != nil {
		return
	}
	st.err = err
	delete(c.streams, st.id)
	if b := st.body; b != nil {
		if !st.ended {
			b.err = err
		}
		c.give(b.drop())
		st.arrived.Broadcast()
	}
	c.room.Broadcast()
	st.ctx.cancel()
}

// end notes that the client has sent all.
func (st *stream) end() {
	st.ended = true
	if st.body != nil && st.body.err == nil {
		st.body.err = io.EOF
	}
}

// give lets the client send n more bytes of this stream.
func (st *stream) give(n int) {
	if st.ended || st.err != nil {
		return
	}
	if st.credit += n; st.credit >= receiveWindow/4 {
		st.c.appendWindowUpdate(st.id, st.credit)
		st.received += st.credit
		st.credit = 0
	}
}

// run calls the handler; it is what a worker does.
func (st *stream) run(h http.Handler, r *http.Request) {
	st.response.begin(r.Method)
	done := false
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			st.c.logf("h2: panic serving %s: %v\n%s", st.c.remote, p, debug.Stack())
		}
		st.over(done)
	}()
	h.ServeHTTP(&st.response, r)
	done = true
}

func (c *conn) logf(format string, args ...any) {
	if c.srv.ErrorLog != nil {
		c.srv.ErrorLog.Printf(format, args...)
	}
}

// over ends the stream after its handler, which did all it wanted or not.
func (st *stream) over(done bool) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.err == nil && done {
		st.response.finish()
	}
	if st.err == nil {
		switch {
		case !done:
			c.appendReset(st.id, http2.ErrCodeInternal)
		case !st.ended: // the rest of the body is not wanted
			c.appendReset(st.id, http2.ErrCodeNo)
		}
		if st.body != nil {
			st.body.closed = true
		}
		c.close(st, errFinished)
	}
	st.timers()
	c.running--
	if len(c.streams) == 0 {
		c.idle = time.Now()
	}
	c.parted()
	c.flush()
}

// body is a request's body: what has arrived and was not read.
type body struct {
	st     *stream
	data   []byte
	err    error // behind data
	closed bool
	late   bool // the read deadline has passed
	end    time.Time
	timer  *time.Timer
}

func (b *body) take(p []byte) {
	if b.closed {
		b.st.c.give(len(p))
		return
	}
	b.data = append(b.data, p...)
}

// drop forgets what was not read and returns how much that is.
func (b *body) drop() int {
	n := len(b.data)
	b.data = nil
	return n
}

func (b *body) Read(p []byte) (int, error) {
	st, c := b.st, b.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case b.late:
			return 0, os.ErrDeadlineExceeded
		case len(b.data) > 0:
			n := copy(p, b.data)
			if b.data = b.data[n:]; len(b.data) == 0 {
				b.data = nil
			}
			c.give(n)
			st.give(n)
			c.flush()
			return n, nil
		case b.err != nil:
			return 0, b.err
		case len(p) == 0:
			return 0, nil
		}
		if st.continues {
			st.continues = false
			c.appendHeaders(st.id, []hpack.HeaderField{{Name: ":status", Value: "100"}}, false)
			c.flush()
			continue
		}
		b.watch()
		st.arrived.Wait()
	}
}

// watch wakes a reader when its time is over.
func (b *body) watch() {
	if b.end.IsZero() || b.timer != nil {
		return
	}
	b.timer = time.AfterFunc(time.Until(b.end), func() {
		b.st.c.mu.Lock()
		defer b.st.c.mu.Unlock()
		if !b.end.IsZero() && !time.Now().Before(b.end) {
			b.late = true
			b.st.arrived.Broadcast()
		}
	})
}

func (b *body) deadline(t time.Time) {
	b.end, b.late = t, !t.IsZero() && !time.Now().Before(t)
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	b.st.arrived.Broadcast() // who waits, waits anew
}

func (b *body) Close() error {
	c := b.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	b.closed = true
	c.give(b.drop())
	b.st.arrived.Broadcast()
	c.flush()
	return nil
}

// streamContext is the context of a request. What waits for it is made when somebody
// does.
type streamContext struct {
	context.Context

	done  atomic.Pointer[chan struct{}]
	mu    sync.Mutex
	err   error
	after map[*func()]struct{}
}

func (x *streamContext) Done() <-chan struct{} {
	if d := x.done.Load(); d != nil {
		return *d
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if d := x.done.Load(); d != nil {
		return *d
	}
	d := make(chan struct{})
	if x.err != nil {
		close(d)
	}
	x.done.Store(&d)
	return d
}

func (x *streamContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// AfterFunc spares package context a goroutine for each context derived from this one.
func (x *streamContext) AfterFunc(f func()) (stop func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		go f()
		return func() bool { return false }
	}
	if x.after == nil {
		x.after = map[*func()]struct{}{}
	}
	key := &f
	x.after[key] = struct{}{}
	return func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		_, there := x.after[key]
		delete(x.after, key)
		return there
	}
}

func (x *streamContext) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = context.Canceled
	if d := x.done.Load(); d != nil {
		close(*d)
	}
	for f := range x.after {
		go (*f)()
	}
	x.after = nil
}
