package stream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// dial opens a connection to a handler: an HTTP/1.1 server for this one connection,
// without a network. It ends when either side closes.
func dial(h http.Handler) net.Conn {
	client, server := net.Pipe()
	l := &once{conn: server, closed: make(chan struct{})}
	go func() {
		s := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
		_ = s.Serve(l) // ends with the connection
	}()
	return client
}

// transport is an HTTP transport whose connections lead to h.
func transport(h http.Handler) *http.Transport {
	return &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return dial(h), nil },
		DisableKeepAlives: true,
	}
}

// once listens for one connection.
type once struct {
	mu     sync.Mutex
	conn   net.Conn
	closed chan struct{}
	end    sync.Once
}

// Accept returns the connection, and net.ErrClosed once that has been closed.
func (l *once) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		return &watched{c, l}, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *once) Close() error {
	l.end.Do(func() { close(l.closed) })
	return nil
}

func (l *once) Addr() net.Addr { return pipeAddr{} }

// watched tells the listener when its connection ends.
type watched struct {
	net.Conn
	l *once
}

func (c *watched) Close() error {
	_ = c.l.Close()
	return c.Conn.Close()
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "node" }
