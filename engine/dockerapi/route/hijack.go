package route

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Media types of hijacked and of log streams.
const (
	RawStream         = "application/vnd.docker.raw-stream"
	MultiplexedStream = "application/vnd.docker.multiplexed-stream"
)

// Conn is a connection after Hijack: what the client sends and what it is sent.
// CloseWrite ends our side where the transport can.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// Read reads what the client sends, also what the server had read already.
func (c *Conn) Read(p []byte) (int, error) { return c.in.Read(p) }

// CloseWrite tells the client that nothing more comes.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Hijack takes the connection over and writes the head of the answer: 101 where
// the client asked for an upgrade, with the media type of what follows, else 200 as
// clients of old expect. multiplexed is how the output will be framed. With
// headers, those set on w go along. The caller closes the Conn.
func Hijack(w http.ResponseWriter, r *Request, multiplexed, headers bool) (*Conn, error) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return nil, Internal(errors.New("the connection cannot be taken over"))
	}
	c, rw, err := h.Hijack()
	if err != nil {
		return nil, Internal(fmt.Errorf("hijack: %w", err))
	}
	kind := RawStream
	if multiplexed && r.Since("1.42") && r.Header.Get("Upgrade") != "" {
		kind = MultiplexedStream
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + kind + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
	}
	out := bufio.NewWriter(c)
	out.WriteString(head)
	if headers {
		w.Header().Del("Content-Type")
		w.Header().Write(out)
	}
	out.WriteString("\r\n")
	if err := out.Flush(); err != nil {
		c.Close()
		return nil, fmt.Errorf("hijack: %w", err)
	}
	return &Conn{Conn: c, in: rw.Reader}, nil
}

// Streams of a multiplexed stream.
const (
	Stdin byte = iota
	Stdout
	Stderr
	Systemerr
)

// maxFrame is the longest piece of output in one frame.
const maxFrame = 1 << 20

// Mux frames what is written to its streams; it is safe for concurrent use if w is
// used by nobody else.
type Mux struct {
	mu sync.Mutex
	w  io.Writer
}

// NewMux writes frames to w.
func NewMux(w io.Writer) *Mux { return &Mux{w: w} }

// Stream is a writer whose output is framed as that of a stream.
func (m *Mux) Stream(id byte) io.Writer { return &muxStream{m, id} }

type muxStream struct {
	m  *Mux
	id byte
}

func (s *muxStream) Write(p []byte) (int, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	done := 0
	for {
		piece := p[done:]
		if len(piece) > maxFrame {
			piece = piece[:maxFrame]
		}
		if len(piece) == 0 {
			return done, nil
		}
		n := len(piece)
		frame := make([]byte, 8, 8+n)
		frame[0], frame[4], frame[5], frame[6], frame[7] = s.id, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		if _, err := s.m.w.Write(append(frame, piece...)); err != nil {
			return done, err
		}
		done += n
	}
}
