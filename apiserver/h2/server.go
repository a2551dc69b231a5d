// Package h2 serves HTTP/2 over TLS for a http.Server, in the place of the one that
// net/http has. It knows nothing of Kubernetes; the platform puts the API's handler
// behind it.
//
// It is made for many small answers and for many streams that are written to at
// once. An answer that fits into memory is one write: its headers, its body and its
// end, encoded by the goroutine of its handler. Who finds another goroutine writing
// leaves its frames to that one, so that what many streams have to say at a time goes
// out together. Frames and header fields are those of golang.org/x/net/http2 and its
// hpack.
//
// One goroutine reads a connection, one more runs each handler (workers.go).
// Everything of a connection that both touch is under one lock (conn.mu), which
// nobody holds while writing to the network.
package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Options bound what a client may have.
type Options struct {
	MaxStreams   int           // handlers of a connection at once
	IdleTimeout  time.Duration // of a connection without streams
	WriteTimeout time.Duration // for which a client may take nothing of what is written
}

const (
	// receiveWindow is how much of requests' bodies a client may send ahead, of one
	// stream and of all.
	receiveWindow = 1 << 20
	// highWater is how much may wait to be written before streams have to.
	highWater = 256 << 10
	// flushFrom is how much is gathered for one write.
	flushFrom = 64 << 10
	// mostControl is how much may wait of a client that makes us answer and takes nothing.
	mostControl = highWater + 1<<20

	defaultWindow = 1<<16 - 1
	defaultFrame  = 1 << 14
	maxWindow     = 1<<31 - 1
	tableSize     = 4096

	prefaceTime = 10 * time.Second
	// partingTime is how long a client that was told to go may take to do so.
	partingTime = time.Second
)

// Configure makes s serve HTTP/2 by this package. Give Listener's listener to
// s.ServeTLS.
func Configure(s *http.Server, o Options) {
	if s.TLSNextProto == nil {
		s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	s.TLSNextProto["h2"] = func(s *http.Server, t *tls.Conn, h http.Handler) {
		base := context.Background()
		if b, ok := h.(interface{ BaseContext() context.Context }); ok {
			base = b.BaseContext()
		}
		newConn(s, t, h, base, o).serve()
	}
}

// conn is one connection.
type conn struct {
	srv     *http.Server
	opt     Options
	tls     *tls.Conn
	write   func([]byte) error // to tls
	handler http.Handler
	base    context.Context
	state   tls.ConnectionState
	remote  string

	// The reading goroutine's alone.
	br       *bufio.Reader
	fr       *http2.Framer
	dec      *hpack.Decoder
	block    headerBlock
	received int // bytes of frames that the client may send: of the connection's window

	mu      sync.Mutex
	room    sync.Cond // something may be written that could not
	streams map[uint32]*stream
	last    uint32 // stream that the client has begun
	running int    // handlers
	failed  error  // why the connection is over
	going   bool   // the client has been told to go

	window   int64 // of what the client takes, of all streams
	initial  int64 // window of a new stream
	maxFrame int
	credit   int // bytes that were read and the client has not been told of

	out     []byte // frames to be written
	writing bool
	enc     *hpack.Encoder
	encoded *sink

	begun    time.Time // the write that is under way
	idle     time.Time // since there are no streams
	watchdog *time.Timer
}

// sink is where the encoder of header fields writes to.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) { s.b = append(s.b, p...); return len(p), nil }

func newConn(s *http.Server, t *tls.Conn, h http.Handler, base context.Context, o Options) *conn {
	c := &conn{srv: s, opt: o, tls: t, handler: h, base: base, state: t.ConnectionState(), remote: t.RemoteAddr().String(),
		streams: map[uint32]*stream{}, window: defaultWindow, initial: defaultWindow, maxFrame: defaultFrame,
		received: receiveWindow, encoded: &sink{}, idle: time.Now()}
	c.write = func(b []byte) error { _, err := t.Write(b); return err }
	if g, ok := t.NetConn().(*gathered); ok {
		direct := c.write
		c.write = func(b []byte) error { return g.through(direct, b) }
	}
	c.room.L = &c.mu
	c.br = bufio.NewReader(t)
	c.fr = http2.NewFramer(io.Discard, c.br)
	c.fr.SetMaxReadFrameSize(defaultFrame)
	c.fr.SetReuseFrames()
	c.enc = hpack.NewEncoder(c.encoded)
	c.block.limit = s.MaxHeaderBytes
	if c.block.limit <= 0 {
		c.block.limit = http.DefaultMaxHeaderBytes
	}
	c.dec = hpack.NewDecoder(tableSize, c.block.field)
	c.dec.SetMaxStringLength(c.block.limit)
	return c
}

// serve reads the connection to its end.
func (c *conn) serve() {
	defer c.tls.Close()
	c.mu.Lock()
	c.watchdog = time.AfterFunc(c.pace(), c.watch)
	c.greet()
	c.flush()
	c.mu.Unlock()
	err := c.preface()
	for err == nil {
		err = c.frame()
	}
	var code http2.ConnectionError
	if errors.As(err, &code) {
		c.mu.Lock()
		c.goAway(http2.ErrCode(code))
		c.flush()
		c.mu.Unlock()
		c.linger()
	}
	c.fail(err)
}

// linger lets the client read why the connection ends: what it has sent meanwhile
// would make the kernel throw that away.
func (c *conn) linger() {
	if c.tls.CloseWrite() != nil || c.tls.SetReadDeadline(time.Now().Add(partingTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.br) // it is closed after that
}

// greet says what the client may do.
func (c *conn) greet() {
	c.appendSettings(
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: defaultFrame},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.opt.MaxStreams)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.block.limit)},
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: tableSize},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: receiveWindow},
	)
	c.appendWindowUpdate(0, receiveWindow-defaultWindow)
}

// preface reads how every client begins.
func (c *conn) preface() error {
	if c.state.Version < tls.VersionTLS13 && !slices.Contains(suites, c.state.CipherSuite) {
		return http2.ConnectionError(http2.ErrCodeInadequateSecurity)
	}
	if err := c.tls.SetReadDeadline(time.Now().Add(prefaceTime)); err != nil {
		return err
	}
	got := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.br, got); err != nil {
		return err
	}
	if string(got) != http2.ClientPreface {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	f, err := c.fr.ReadFrame()
	if err != nil {
		return c.frameError(err)
	}
	s, ok := f.(*http2.SettingsFrame)
	if !ok || s.IsAck() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err := c.tls.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return c.settings(s)
}

// suites are what HTTP/2 allows of TLS 1.2 (RFC 9113, 9.2.2) among what Go has.
var suites = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// fail ends the connection and everything on it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	c.failed = err
	c.watchdog.Stop()
	for _, st := range c.streams {
		c.close(st, errGone)
	}
	c.room.Broadcast()
	c.tls.NetConn().Close() // without a last word, which might wait for the client
}

var errGone = errors.New("h2: the client is gone")

// pace is how often the watchdog looks.
func (c *conn) pace() time.Duration {
	return min(orLong(c.opt.IdleTimeout), orLong(c.opt.WriteTimeout)) / 2
}

func orLong(d time.Duration) time.Duration {
	if d <= 0 {
		return 24 * time.Hour
	}
	return d
}

// watch ends a connection that is idle, or whose client takes nothing.
func (c *conn) watch() {
	c.mu.Lock()
	now := time.Now()
	stalled := c.opt.WriteTimeout > 0 && c.writing && now.Sub(c.begun) > c.opt.WriteTimeout
	idle := c.opt.IdleTimeout > 0 && c.running == 0 && len(c.streams) == 0 && now.Sub(c.idle) > c.opt.IdleTimeout
	if idle && !c.writing && c.failed == nil {
		c.part()
		c.flushSoon()
	}
	if c.failed == nil && !stalled {
		c.watchdog.Reset(c.pace())
	}
	c.mu.Unlock()
	if stalled {
		c.fail(errStalled)
	}
}

var errStalled = errors.New("h2: the client takes nothing")

// part tells the client to open no more streams here, and ends the connection when
// the last is over.
func (c *conn) part() {
	if c.going {
		return
	}
	c.goAway(http2.ErrCodeNo)
	c.parted()
}

func (c *conn) parted() {
	if c.going && c.running == 0 && len(c.streams) == 0 {
		time.AfterFunc(partingTime, func() { c.fail(errParted) })
	}
}

var errParted = errors.New("h2: the connection was ended")

// Listener makes what is accepted fit for Configure: several TLS records go out by
// one system call.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathered{Conn: c}, nil
}

// gathered is a connection that holds back what is written, while it is told to.
type gathered struct {
	net.Conn
	mu   sync.Mutex // TLS writes by itself too, to change keys
	held *[]byte    // nil: nothing is held back
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// mostKept is the size above which buffers are left to the collector.
const mostKept = 2 * highWater

func release(b *[]byte) {
	if cap(*b) <= mostKept {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(p)
	}
	*g.held = append(*g.held, p...)
	if len(*g.held) >= flushFrom {
		if err := g.let(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (g *gathered) let() error {
	_, err := g.Conn.Write(*g.held)
	*g.held = (*g.held)[:0]
	return err
}

// through writes p by write, which ends in Write, in as few calls as may be.
func (g *gathered) through(write func([]byte) error, p []byte) error {
	g.mu.Lock()
	g.held = buffers.Get().(*[]byte)
	g.mu.Unlock()
	err := write(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil && len(*g.held) > 0 {
		err = g.let()
	}
	release(g.held)
	g.held = nil
	return err
}
