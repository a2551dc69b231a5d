package h2

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// All of this file is under conn.mu, which flush and send give away while they write
// or wait.

// appendHead appends the head of a frame of n bytes.
func (c *conn) appendHead(n int, t http2.FrameType, flags http2.Flags, id uint32) {
	if c.out == nil {
		c.out = *buffers.Get().(*[]byte)
	}
	c.out = append(c.out, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func (c *conn) appendSettings(all ...http2.Setting) {
	c.appendHead(6*len(all), http2.FrameSettings, 0, 0)
	for _, s := range all {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
}

func (c *conn) appendWindowUpdate(id uint32, n int) {
	c.appendHead(4, http2.FrameWindowUpdate, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

func (c *conn) appendReset(id uint32, code http2.ErrCode) {
	c.appendHead(4, http2.FrameRSTStream, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

func (c *conn) goAway(code http2.ErrCode) {
	c.going = true
	c.appendHead(8, http2.FrameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, c.last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// appendHeaders appends a block of header fields, in as many frames as it takes.
func (c *conn) appendHeaders(id uint32, fields []hpack.HeaderField, end bool) {
	c.encoded.b = c.encoded.b[:0]
	for _, f := range fields {
		_ = c.enc.WriteField(f) // a sink takes everything
	}
	b := c.encoded.b
	t, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(b), c.maxFrame)
		if n == len(b) {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.appendHead(n, t, flags, id)
		c.out = append(c.out, b[:n]...)
		if b = b[n:]; len(b) == 0 {
			break
		}
		t, flags = http2.FrameContinuation, 0
	}
	if cap(c.encoded.b) > 16<<10 {
		c.encoded.b = nil
	}
}

// send appends a part of a stream's body as its client takes it, and the stream's
// end. It writes when much has been gathered, else that is left to flush.
func (c *conn) send(st *stream, p []byte, end bool) error {
	for {
		switch {
		case st.err != nil:
			return st.err
		case c.failed != nil:
			return errGone
		case c.writing && len(c.out) >= highWater:
			c.room.Wait()
			continue
		}
		n := min(len(p), c.maxFrame, int(min(st.window, c.window)))
		switch {
		case len(p) == 0 && !end:
			return nil
		case len(p) > 0 && n <= 0:
			if len(c.out) > 0 && !c.writing {
				c.flush() // others may have made room meanwhile
				continue
			}
			c.room.Wait()
			continue
		}
		flags := http2.Flags(0)
		last := n == len(p)
		if last && end {
			flags = http2.FlagDataEndStream
		}
		c.appendHead(n, http2.FrameData, flags, st.id)
		c.out = append(c.out, p[:n]...)
		st.window -= int64(n)
		c.window -= int64(n)
		p = p[n:]
		if len(c.out) >= flushFrom {
			c.flush()
		}
		if last {
			return nil
		}
	}
}

// flush writes what has been appended, unless somebody is writing, who takes it
// along.
func (c *conn) flush() {
	if c.writing {
		return
	}
	for len(c.out) > 0 && c.failed == nil {
		b := c.out
		c.out, c.writing, c.begun = nil, true, time.Now()
		c.mu.Unlock()
		err := c.write(b)
		release(&b)
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
		c.writing = false
		c.room.Broadcast()
	}
}

// flushSoon is flush for those who must not wait for the client.
func (c *conn) flushSoon() {
	switch {
	case len(c.out) == 0:
	case c.writing && len(c.out) > mostControl:
		go c.fail(errFlood)
	case !c.writing:
		go func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.flush()
		}()
	}
}

var errFlood = errors.New("h2: the client asks for answers that it does not take")
