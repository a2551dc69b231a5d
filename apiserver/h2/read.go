package h2

import (
	"errors"
	"net/http"

	"golang.org/x/net/http2"
)

// frame reads one frame and does what it says. An error ends the connection.
func (c *conn) frame() error {
	f, err := c.fr.ReadFrame()
	if err != nil {
		return c.frameError(err)
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		err = c.data(f)
	case *http2.HeadersFrame:
		err = c.headers(f)
	case *http2.SettingsFrame:
		err = c.settings(f)
	case *http2.WindowUpdateFrame:
		err = c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		err = c.reset(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			c.answer(func() {
				c.appendHead(len(f.Data), http2.FramePing, http2.FlagPingAck, 0)
				c.out = append(c.out, f.Data[:]...)
			})
		}
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			err = streamError(f.StreamID, http2.ErrCodeProtocol)
		}
	case *http2.PushPromiseFrame, *http2.ContinuationFrame:
		err = http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.settle(err)
}

func streamError(id uint32, code http2.ErrCode) error {
	return http2.StreamError{StreamID: id, Code: code}
}

// frameError is what a frame that cannot be read means.
func (c *conn) frameError(err error) error {
	if errors.Is(err, http2.ErrFrameTooLarge) {
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	return c.settle(err)
}

// settle resets the stream of which err speaks, and returns other errors.
func (c *conn) settle(err error) error {
	var se http2.StreamError
	if !errors.As(err, &se) {
		return err
	}
	c.mu.Lock()
	idle := se.StreamID > c.last && !c.going
	c.mu.Unlock()
	if idle {
		return http2.ConnectionError(se.Code)
	}
	c.answer(func() {
		c.appendReset(se.StreamID, se.Code)
		if st := c.streams[se.StreamID]; st != nil {
			c.close(st, errReset)
		}
	})
	return nil
}

// answer appends what a frame calls for. The reading goroutine does not wait until it
// is written.
func (c *conn) answer(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	c.flushSoon()
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingHeaderTableSize:
			c.enc.SetMaxDynamicTableSize(min(s.Val, tableSize))
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(min(s.Val, flushFrom))
		case http2.SettingInitialWindowSize:
			more := int64(s.Val) - c.initial
			c.initial = int64(s.Val)
			for _, st := range c.streams {
				if st.window += more; st.window > maxWindow {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
			}
			c.room.Broadcast()
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.appendHead(0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	c.flushSoon()
	return nil
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.room.Broadcast()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		return nil
	}
	st, err := c.known(f.StreamID)
	if st == nil {
		return err
	}
	if st.window += int64(f.Increment); st.window > maxWindow {
		return streamError(f.StreamID, http2.ErrCodeFlowControl)
	}
	return nil
}

// known is an open stream; nil if it is over or was not taken, an error if it has not
// begun.
func (c *conn) known(id uint32) (*stream, error) {
	if id > c.last && !c.going || id%2 == 0 {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.streams[id], nil
}

func (c *conn) reset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := c.known(f.StreamID)
	if st != nil {
		c.close(st, errReset)
		c.flushSoon()
	}
	return err
}

// data takes a part of a body in.
func (c *conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flushSoon()
	n := int(f.Length) // padding counts
	if c.received -= n; c.received < 0 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	st, err := c.known(f.StreamID)
	if err != nil {
		return err
	}
	if st == nil || st.ended {
		c.give(n)
		return streamError(f.StreamID, http2.ErrCodeStreamClosed)
	}
	p := f.Data()
	if st.received -= n; st.received < 0 {
		c.give(n)
		return streamError(f.StreamID, http2.ErrCodeFlowControl)
	}
	if n > len(p) {
		c.give(n - len(p))
		st.give(n - len(p))
	}
	if st.arrivedBytes += int64(len(p)); st.declared >= 0 && (st.arrivedBytes > st.declared || f.StreamEnded() && st.arrivedBytes != st.declared) {
		c.give(len(p))
		return streamError(f.StreamID, http2.ErrCodeProtocol)
	}
	st.body.take(p)
	if f.StreamEnded() {
		st.end()
	}
	st.arrived.Broadcast()
	return nil
}

// give lets the client send n more bytes on the connection. It is told of many at
// once.
func (c *conn) give(n int) {
	c.credit += n
	if c.credit >= receiveWindow/4 {
		c.appendWindowUpdate(0, c.credit)
		c.received += c.credit
		c.credit = 0
	}
}

// headers begins a stream, or ends its body with trailers.
func (c *conn) headers(f *http2.HeadersFrame) error {
	id, ended := f.StreamID, f.StreamEnded()
	dependent := f.HasPriority() && f.Priority.StreamDep == id
	if err := c.readBlock(f); err != nil {
		return err
	}
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id <= c.last {
		return c.trailers(id, ended)
	}
	if c.going {
		return nil // it knows that we take no more
	}
	c.last = id
	switch {
	case dependent:
		return streamError(id, http2.ErrCodeProtocol)
	case c.running >= c.opt.MaxStreams || len(c.streams) >= c.opt.MaxStreams:
		return streamError(id, http2.ErrCodeRefusedStream)
	}
	st := c.newStream(id, ended)
	r, h := blank.WithContext(&st.ctx), c.handler
	if c.block.large {
		h = http.HandlerFunc(tooLarge)
	} else if err := c.request(st, r); err != nil {
		return streamError(id, http2.ErrCodeProtocol)
	}
	c.streams[id] = st
	c.running++
	start(job{st, h, r})
	return nil
}

// blank is what requests are made of.
var blank http.Request

// tooLarge answers a request of which the headers were not kept.
func tooLarge(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the headers are too large", http.StatusRequestHeaderFieldsTooLarge)
}

func (c *conn) trailers(id uint32, ended bool) error {
	st := c.streams[id]
	switch {
	case st == nil:
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	case st.ended:
		return streamError(id, http2.ErrCodeStreamClosed)
	case !ended || st.declared >= 0 && st.arrivedBytes != st.declared:
		return streamError(id, http2.ErrCodeProtocol)
	}
	h := http.Header{}
	if c.block.into(h, nil) != nil {
		return streamError(id, http2.ErrCodeProtocol)
	}
	for name := range st.trailer {
		if v, ok := h[name]; ok {
			st.trailer[name] = v
		}
	}
	st.end()
	st.arrived.Broadcast()
	return nil
}
