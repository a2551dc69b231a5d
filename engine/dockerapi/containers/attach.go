package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/engine/logs"
)

// attachment is one client at a container's streams.
type attachment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	done           chan struct{} // closed when the output has ended
	detached       chan struct{} // closed when the client has left
	once           sync.Once
}

func newAttachment() *attachment {
	return &attachment{done: make(chan struct{}), detached: make(chan struct{})}
}

func (t *attachment) leave() { t.once.Do(func() { close(t.detached) }) }

func (t *attachment) left() bool {
	select {
	case <-t.detached:
		return true
	default:
		return false
	}
}

// attachable is the container that a client may attach to now.
func (a *Area) attachable(r *route.Request) (c *cont, keys []byte, err error) {
	if keys, err = detachKeys(r.Form.Get("detachKeys")); err != nil {
		return nil, nil, route.Invalidf("Invalid detach keys (%s) provided", r.Form.Get("detachKeys"))
	}
	name := r.Var("name")
	if c, err = a.find(name); err != nil {
		return nil, nil, err
	}
	switch v := a.view(c); {
	case v.paused:
		err = route.Conflictf("container %s is paused, unpause the container before attach", name)
	case v.restarting:
		err = route.Conflictf("container %s is restarting, wait until the container is running", name)
	}
	return c, keys, err
}

// attach answers errors as plain text: its clients expect a stream.
func (a *Area) attach(w http.ResponseWriter, r *route.Request) error {
	c, keys, err := a.attachable(r)
	if err != nil {
		w.Header().Set("Content-Type", route.RawStream)
		w.Header().Set("Connection", "close")
		w.WriteHeader(route.Status(err))
		_, err = fmt.Fprintf(w, "%s\r\n", err)
		return err
	}
	v := a.view(c)
	conn, err := route.Hijack(w, r, !v.Config.Tty, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	t := newAttachment()
	mux := route.NewMux(conn)
	if r.Bool("stdout") {
		t.stdout = mux.Stream(route.Stdout)
		if v.Config.Tty {
			t.stdout = conn
		}
	}
	if r.Bool("stderr") && !v.Config.Tty {
		t.stderr = mux.Stream(route.Stderr)
	}
	if r.Bool("logs") {
		if err := a.readLog(a.ctx, &v, logs.Options{}, conn, r.Bool("stdout"), r.Bool("stderr"), nil); err != nil {
			a.notify("log for a client", v.ID, err)
		}
	}
	if !r.Bool("stream") {
		return conn.CloseWrite()
	}
	in := &clientInput{r: conn, gone: t.leave}
	if v.Config.Tty {
		in.keys = keys
	}
	if r.Bool("stdin") && v.Config.OpenStdin {
		t.stdin = in
	} else {
		go in.watch()
	}
	a.serveAttached(c, t)
	return conn.CloseWrite()
}

// serveAttached returns when the output has ended or the client has left.
func (a *Area) serveAttached(c *cont, t *attachment) {
	a.publish(c, events.ActionAttach)
	a.mu.Lock()
	running := c.running
	if !running {
		c.waiting = append(c.waiting, t)
	}
	a.mu.Unlock()
	if running {
		ctx, cancel := context.WithCancel(a.ctx)
		go func() {
			defer close(t.done)
			err := a.o.Engine.Attach(ctx, c.rec.ID, engine.Streams{Stdin: t.stdin, Stdout: t.stdout, Stderr: t.stderr})
			if !errors.Is(err, engine.ErrNotRun) {
				a.notify("attach", c.rec.ID, err)
			}
		}()
		defer cancel()
	}
	select {
	case <-t.done:
	case <-c.gone:
		// What is still on its way comes before the end.
		select {
		case <-t.done:
		case <-time.After(50 * time.Millisecond):
		}
	case <-a.ctx.Done():
	case <-t.detached:
		a.publish(c, events.ActionDetach)
	}
	a.mu.Lock()
	for i, x := range c.waiting {
		if x == t {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			break
		}
	}
	a.mu.Unlock()
}

// startWaiting starts a container with the clients connected that wait for it; all
// see its output, and the first that has input gives it.
func (a *Area) startWaiting(c *cont, waiting []*attachment) error {
	ctx, cancel := context.WithCancel(a.ctx)
	s := engine.Streams{}
	var outs, errs []tap
	for _, t := range waiting {
		if t.stdin != nil && s.Stdin == nil {
			s.Stdin = t.stdin
		}
		if t.stdout != nil {
			outs = append(outs, tap{t, t.stdout})
		}
		if t.stderr != nil {
			errs = append(errs, tap{t, t.stderr})
		}
	}
	if len(outs) > 0 {
		s.Stdout = &fan{taps: outs}
	}
	if len(errs) > 0 {
		s.Stderr = &fan{taps: errs}
	}
	wait, err := a.o.Engine.StartAttached(ctx, c.rec.ID, s)
	if err != nil {
		cancel()
		return err
	}
	go func() {
		defer cancel()
		wait()
		for _, t := range waiting {
			close(t.done)
		}
	}()
	go func() {
		// When all have left, nobody needs the pipes.
		for _, t := range waiting {
			select {
			case <-t.detached:
			case <-ctx.Done():
				return
			}
		}
		cancel()
	}()
	return nil
}

// tap is one client's part of a stream.
type tap struct {
	t *attachment
	w io.Writer
}

// fan writes to all clients that have not left; one that cannot be written to has.
type fan struct{ taps []tap }

func (f *fan) Write(p []byte) (int, error) {
	for _, t := range f.taps {
		if t.t.left() {
			continue
		}
		if _, err := t.w.Write(p); err != nil {
			t.t.leave()
		}
	}
	return len(p), nil
}

// errDetached ends the input of a client that has typed its detach keys.
var errDetached = errors.New("detached")

// clientInput is what a client types.
type clientInput struct {
	r     io.Reader
	keys  []byte // nil: none
	gone  func()
	match int
}

// Read implements io.Reader; the keys that detach are not passed on.
func (c *clientInput) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.gone()
	}
	if len(c.keys) == 0 || n == 0 {
		return n, err
	}
	out := make([]byte, 0, n+c.match)
	for _, b := range p[:n] {
		switch {
		case b == c.keys[c.match]:
			if c.match++; c.match == len(c.keys) {
				c.gone()
				return copy(p, out), errDetached
			}
			continue
		case c.match > 0:
			out = append(out, c.keys[:c.match]...)
			c.match = 0
			if b == c.keys[0] {
				c.match = 1
				continue
			}
		}
		out = append(out, b)
	}
	// A held back beginning of the keys may come out with more than was read.
	if len(out) > len(p) {
		c.r = io.MultiReader(newBytes(out[len(p):]), c.r)
	}
	return copy(p, out), err
}

func newBytes(b []byte) io.Reader { return &byteReader{append([]byte(nil), b...)} }

type byteReader struct{ b []byte }

func (r *byteReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// watch reads what nobody wants, to know when the client has left. A client that
// only has nothing to say is still there.
func (c *clientInput) watch() {
	if _, err := io.Copy(io.Discard, c.r); err != nil {
		c.gone()
	}
}

var websockets = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

// attachWebsocket is attach over a websocket of binary messages.
func (a *Area) attachWebsocket(w http.ResponseWriter, r *route.Request) error {
	c, keys, err := a.attachable(r)
	if err != nil {
		return err
	}
	v := a.view(c)
	ws, err := websockets.Upgrade(w, r.Request, nil)
	if err != nil {
		return nil //nolint:nilerr // Upgrade has answered
	}
	defer ws.Close()
	out := &wsWriter{ws: ws}
	t := newAttachment()
	// Versions before 1.42 connect all streams, whatever is asked for.
	wants := func(stream string) bool { return r.Before("1.42") || r.Bool(stream) }
	if wants("stdout") {
		t.stdout = out
	}
	if wants("stderr") && !v.Config.Tty {
		t.stderr = out
	}
	if r.Bool("logs") {
		var so, se io.Writer = out, out
		if err := logs.Read(a.ctx, a.logPath(v.ID), logs.Options{}, so, se); err != nil {
			a.notify("log for a client", v.ID, err)
		}
	}
	if !r.Bool("stream") {
		return nil
	}
	in := &clientInput{r: &wsReader{ws: ws}, gone: t.leave}
	if v.Config.Tty {
		in.keys = keys
	}
	if wants("stdin") && v.Config.OpenStdin {
		t.stdin = in
	} else {
		go in.watch()
	}
	a.serveAttached(c, t)
	return nil
}

type wsWriter struct {
	mu sync.Mutex
	ws *websocket.Conn
}

func (w *wsWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

type wsReader struct {
	ws  *websocket.Conn
	now io.Reader
}

func (r *wsReader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			_, m, err := r.ws.NextReader()
			if err != nil {
				return 0, err
			}
			r.now = m
		}
		n, err := r.now.Read(p)
		if errors.Is(err, io.EOF) {
			r.now, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}
