package build

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/sirupsen/logrus"
)

// background is the context of what lives as long as the Builder.
var background = context.Background()

// silent swallows BuildKit's log: what matters comes back as an error.
var silent = sync.OnceValue(func() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
})

// pipeListener accepts connections that are there already: of this process, and
// those that clients have upgraded.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve hands a connection to the server and waits for its end.
func (l *pipeListener) serve(ctx context.Context, conn net.Conn) error {
	c := &watched{Conn: conn, closed: make(chan struct{})}
	defer c.Close()
	select {
	case l.conns <- c:
	case <-l.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.closed:
	case <-ctx.Done():
	}
	return nil
}

// watched tells when a connection is closed.
type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "build", Net: "unix"} }

// firstError is err, with what went wrong after it.
func firstError(err, after error) error {
	if after == nil {
		return err
	}
	return errors.Join(err, after)
}
