package imagestore

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// dialTime bounds finding a registry's address and connecting to it.
	dialTime = 5 * time.Second
	// slowDial is when a failure to connect is worth remembering, deadTime for how
	// long: a machine without a route would pay dialTime for every container else.
	slowDial = 200 * time.Millisecond
	deadTime = 30 * time.Second
	// idleTime is when a registry that says nothing more is given up.
	idleTime = 60 * time.Second
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer connects to registries and remembers which did not answer.
type dialer struct {
	dial dialFunc
	idle time.Duration // how long a connection may stand still

	mu   sync.Mutex
	dead map[string]deadHost
}

type deadHost struct {
	since time.Time
	err   error
}

func newDialer() *dialer {
	d := &net.Dialer{Timeout: dialTime, KeepAlive: 30 * time.Second}
	return &dialer{dial: d.DialContext, idle: idleTime, dead: map[string]deadHost{}}
}

// deadError is the failure of a moment ago.
type deadError struct {
	deadHost
	age time.Duration
}

func (e *deadError) Error() string {
	return fmt.Sprintf("%v (%v ago, not tried again yet)", e.err, e.age.Truncate(time.Second))
}
func (e *deadError) Unwrap() error { return e.err }

// DialContext fails at once where the same address failed slowly a short while ago.
func (d *dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	began := time.Now()
	d.mu.Lock()
	h, dead := d.dead[addr]
	if age := began.Sub(h.since); dead && age < deadTime {
		d.mu.Unlock()
		return nil, &deadError{h, age}
	}
	delete(d.dead, addr)
	d.mu.Unlock()
	return d.Try(ctx, network, addr)
}

// Try connects whatever is remembered.
func (d *dialer) Try(ctx context.Context, network, addr string) (net.Conn, error) {
	began := time.Now()
	conn, err := d.dial(ctx, network, addr)
	if err == nil {
		conn = &idleConn{conn, d.idle}
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		delete(d.dead, addr)
	case ctx.Err() == nil && now.Sub(began) >= slowDial:
		for a, h := range d.dead {
			if now.Sub(h.since) >= deadTime {
				delete(d.dead, a)
			}
		}
		d.dead[addr] = deadHost{now, err}
	}
	return conn, err
}

// idleConn fails with os.ErrDeadlineExceeded when nothing came for a while: no bytes
// while reading, and none of the answer since the last byte was sent.
type idleConn struct {
	net.Conn
	limit time.Duration
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
