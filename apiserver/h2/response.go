package h2

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// response is a http.ResponseWriter. Its own fields are the handler's; it takes
// conn.mu to write.
type response struct {
	st     *stream
	header http.Header
	head   bool // the request asks for headers alone

	status   int      // 0: not chosen
	fields   *fields  // as they were when the status was chosen; nil: they are out
	trailers []string // names that the header has announced
	length   int64    // declared; -1: not
	written  int64
	typed    bool // there is a Content-Type, or the body is encoded
	dated    bool
	close    bool // the client shall not come again on this connection
	buf      *[]byte

	timer *time.Timer // write deadline
}

type fields struct{ all []hpack.HeaderField }

var fieldPool = sync.Pool{New: func() any { return &fields{} }}

// mostBuffered is how much of a body waits for more of it.
const mostBuffered = 16 << 10

func (w *response) begin(method string) {
	w.header, w.head, w.length = make(http.Header, 8), method == http.MethodHead, -1
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. An informational answer goes out at
// once.
func (w *response) WriteHeader(code int) {
	if code < 100 || code > 999 {
		panic("invalid WriteHeader code " + strconv.Itoa(code))
	}
	if w.status != 0 {
		return
	}
	if code < 200 {
		w.snapshot(code)
		w.st.c.mu.Lock()
		defer w.st.c.mu.Unlock()
		if w.st.err == nil {
			w.appendFields(false)
			w.st.c.flush()
		}
		return
	}
	w.status = code
	w.snapshot(code)
}

// snapshot keeps the header as it is now.
func (w *response) snapshot(code int) {
	f := fieldPool.Get().(*fields)
	f.all = append(f.all[:0], hpack.HeaderField{Name: ":status", Value: statusText(code)})
	final := code >= 200
	for name, values := range w.header {
		switch {
		case len(values) == 0 || strings.HasPrefix(name, http.TrailerPrefix):
			continue
		case final && w.special(name, values):
			continue
		}
		l := lowerName(name)
		if !httpguts.ValidHeaderFieldName(l) {
			continue
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				f.all = append(f.all, hpack.HeaderField{Name: l, Value: v})
			}
		}
	}
	w.fields = f
	if final && w.trailers != nil {
		f.all = slices.DeleteFunc(f.all, func(h hpack.HeaderField) bool {
			return slices.Contains(w.trailers, http.CanonicalHeaderKey(h.Name))
		})
	}
}

// special notes what headers mean for this package and tells whether they are not
// sent.
func (w *response) special(name string, values []string) bool {
	switch name {
	case "Content-Type", "Content-Encoding":
		w.typed = w.typed || values[0] != ""
	case "Date":
		w.dated = true
	case "Content-Length":
		if n, err := strconv.ParseUint(values[0], 10, 63); err == nil {
			w.length = int64(n)
			return false
		}
		return true
	case "Trailer":
		for _, list := range values {
			for t := range strings.SplitSeq(list, ",") {
				if t = http.CanonicalHeaderKey(strings.TrimSpace(t)); httpguts.ValidTrailerHeader(t) {
					w.trailers = append(w.trailers, t)
				}
			}
		}
	case "Connection":
		w.close = w.close || values[0] == "close"
		return true
	case "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func statusText(code int) string {
	switch code {
	case 200:
		return "200"
	case 201:
		return "201"
	}
	return strconv.Itoa(code)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.length >= 0 && w.written > w.length {
		return 0, http.ErrContentLength
	}
	if w.buf == nil {
		w.buf = buffers.Get().(*[]byte)
	}
	if len(*w.buf)+len(p) <= mostBuffered {
		*w.buf = append(*w.buf, p...)
		return len(p), nil
	}
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.commit(p); err != nil {
		return 0, err
	}
	if w.head {
		return len(p), nil
	}
	if err := c.send(w.st, p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// commit sends the headers, if they are not out, and the body so far; next follows.
func (w *response) commit(next []byte) error {
	if w.st.err != nil {
		return w.st.err
	}
	if w.fields != nil {
		w.complete(next, false)
		w.appendFields(false)
	}
	return w.sendBuffered(false)
}

func (w *response) sendBuffered(end bool) error {
	if w.buf == nil {
		if end {
			return w.st.c.send(w.st, nil, true)
		}
		return nil
	}
	b := w.buf
	w.buf = nil
	defer release(b)
	if w.head {
		*b = (*b)[:0]
	}
	return w.st.c.send(w.st, *b, end)
}

// complete adds what the handler has left to us. whole says that the buffer is the
// whole body.
func (w *response) complete(next []byte, whole bool) {
	f := w.fields
	var body []byte
	if w.buf != nil {
		body = *w.buf
	}
	if len(body) == 0 {
		body = next
	}
	allowed := bodyAllowed(w.status)
	if !w.typed && allowed && len(body) > 0 {
		f.all = append(f.all, hpack.HeaderField{Name: "content-type", Value: http.DetectContentType(body)})
	}
	if whole && w.length < 0 && allowed && w.trailers == nil && (len(body) > 0 || !w.head) {
		f.all = append(f.all, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(len(body))})
	}
	if !w.dated {
		f.all = append(f.all, hpack.HeaderField{Name: "date", Value: date()})
	}
	if w.close {
		w.st.c.part()
	}
}

// appendFields sends the headers.
func (w *response) appendFields(end bool) {
	f := w.fields
	w.fields = nil
	w.st.c.appendHeaders(w.st.id, f.all, end)
	clear(f.all)
	fieldPool.Put(f)
}

// finish sends what is left when the handler has returned.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	trailers := w.endFields()
	empty := w.buf == nil || len(*w.buf) == 0 || w.head
	if w.fields != nil {
		w.complete(nil, true)
		if empty && trailers == nil {
			w.appendFields(true)
			w.drop()
			return
		}
		w.appendFields(false)
	}
	if w.sendBuffered(trailers == nil) == nil && trailers != nil {
		w.st.c.appendHeaders(w.st.id, trailers, true)
	}
}

func (w *response) drop() {
	if w.buf != nil {
		release(w.buf)
		w.buf = nil
	}
}

// endFields are the trailers, nil if there are none.
func (w *response) endFields() (all []hpack.HeaderField) {
	add := func(name string, values []string) {
		name = strings.ToLower(name)
		if !httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(name)) || !httpguts.ValidHeaderFieldName(name) {
			return
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				all = append(all, hpack.HeaderField{Name: name, Value: v})
			}
		}
	}
	for _, name := range w.trailers {
		add(name, w.header[name])
	}
	for name, values := range w.header {
		if t, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(t, values)
		}
	}
	return all
}

// Flush implements http.Flusher: what was written is on its way, at the latest behind
// what another stream writes.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError serves http.ResponseController.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.commit(nil); err != nil {
		return err
	}
	c.flush()
	return w.st.err
}

// SetReadDeadline serves http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	w.st.c.mu.Lock()
	defer w.st.c.mu.Unlock()
	if w.st.body != nil {
		w.st.body.deadline(t)
	}
	return nil
}

// SetWriteDeadline serves http.ResponseController. When it has passed, the stream is
// over.
func (w *response) SetWriteDeadline(t time.Time) error {
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	switch {
	case t.IsZero():
	case !time.Now().Before(t):
		w.late()
	default:
		w.timer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			w.late()
		})
	}
	return nil
}

// late ends a stream to which nothing may be written any more.
func (w *response) late() {
	if w.st.err != nil {
		return
	}
	w.st.c.appendReset(w.st.id, http2.ErrCodeInternal)
	w.st.c.close(w.st, os.ErrDeadlineExceeded)
	w.st.c.flushSoon()
}

// EnableFullDuplex serves http.ResponseController: streams always are.
func (w *response) EnableFullDuplex() error { return nil }

// timers stops what waits for the handler.
func (st *stream) timers() {
	if st.timer != nil {
		st.timer.Stop()
	}
	if st.body != nil && st.body.timer != nil {
		st.body.timer.Stop()
	}
}

// stamp is the date of a second.
type stamp struct {
	second int64
	text   string
}

var today atomic.Pointer[stamp]

// date is the Date header, made once a second.
func date() string {
	now := time.Now()
	s := today.Load()
	if s == nil || s.second != now.Unix() {
		s = &stamp{now.Unix(), now.UTC().Format(http.TimeFormat)}
		today.Store(s)
	}
	return s.text
}
