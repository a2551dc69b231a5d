package h2

import (
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headerBlock gathers the fields of one block of headers.
type headerBlock struct {
	limit  int // of names and values, as RFC 9113 counts them (6.5.2)
	size   int
	raw    int // bytes of frames
	frames int
	fields []hpack.HeaderField
	large  bool // over the limit: fields are missing
}

// maxFrames is how many frames one block may have: more than the limit needs.
const maxFrames = 128

func (b *headerBlock) begin() {
	clear(b.fields)
	b.fields, b.size, b.raw, b.frames, b.large = b.fields[:0], 0, 0, 0, false
}

func (b *headerBlock) field(f hpack.HeaderField) {
	if b.size += int(f.Size()); b.size > b.limit {
		b.large = true
		return
	}
	b.fields = append(b.fields, f)
}

// readBlock reads a block of headers that begins with a frame. However wrong it is,
// the compression's state follows it.
func (c *conn) readBlock(f *http2.HeadersFrame) error {
	b := &c.block
	b.begin()
	fragment, ended := f.HeaderBlockFragment(), f.HeadersEnded()
	for {
		b.raw += len(fragment)
		if b.frames++; b.frames > maxFrames || b.raw > 2*b.limit {
			return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
		}
		if _, err := c.dec.Write(fragment); err != nil {
			return http2.ConnectionError(http2.ErrCodeCompression)
		}
		if ended {
			break
		}
		next, err := c.fr.ReadFrame()
		if err != nil {
			if err = c.frameError(err); err == nil {
				err = http2.ConnectionError(http2.ErrCodeProtocol)
			}
			return err
		}
		more, ok := next.(*http2.ContinuationFrame)
		if !ok {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		fragment, ended = more.HeaderBlockFragment(), more.HeadersEnded()
	}
	if c.dec.Close() != nil {
		return http2.ConnectionError(http2.ErrCodeCompression)
	}
	return nil
}

var errMalformed = errors.New("h2: a malformed request")

// pseudo are the pseudo header fields of a request.
type pseudo struct{ method, scheme, authority, path string }

func (p *pseudo) set(name, value string) error {
	var to *string
	switch name {
	case ":method":
		to = &p.method
	case ":scheme":
		to = &p.scheme
	case ":authority":
		to = &p.authority
	case ":path":
		to = &p.path
	}
	if to == nil || *to != "" || value == "" && to != &p.authority {
		return errMalformed
	}
	*to = value
	return nil
}

// request fills in the request of a stream from the block that has been read
// (RFC 9113, 8.2 and 8.3).
func (c *conn) request(st *stream, r *http.Request) error {
	var p pseudo
	h := make(http.Header, len(c.block.fields))
	if err := c.block.into(h, p.set); err != nil {
		return err
	}
	r.Method, r.Proto, r.ProtoMajor, r.Header, r.Host = p.method, "HTTP/2.0", 2, h, p.authority
	r.RemoteAddr, r.TLS, r.Body = c.remote, &c.state, http.NoBody
	if host, ok := h["Host"]; ok {
		if r.Host == "" {
			r.Host = host[0]
		}
		delete(h, "Host")
	}
	if p.method == http.MethodConnect {
		if p.path != "" || p.scheme != "" || p.authority == "" {
			return errMalformed
		}
		r.URL, r.RequestURI = &url.URL{Host: p.authority}, p.authority
	} else {
		if p.method == "" || p.path == "" || p.scheme != "https" && p.scheme != "http" || !httpguts.ValidHeaderFieldName(p.method) {
			return errMalformed
		}
		u, err := url.ParseRequestURI(p.path)
		if err != nil {
			return errMalformed
		}
		r.URL, r.RequestURI = u, p.path
	}
	if st.body != nil {
		return st.expectBody(r)
	}
	if n, ok := h["Content-Length"]; ok && n[0] != "0" {
		return errMalformed
	}
	return nil
}

// into sorts the block's fields into a header and pseudo fields, which come first.
func (b *headerBlock) into(h http.Header, pseudo func(name, value string) error) error {
	values := make([]string, len(b.fields)) // the memory of all of them
	regular := false
	for i, f := range b.fields {
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return errMalformed
		}
		if strings.HasPrefix(f.Name, ":") {
			if regular || pseudo == nil {
				return errMalformed
			}
			if err := pseudo(f.Name, f.Value); err != nil {
				return err
			}
			continue
		}
		regular = true
		name, err := headerName(f.Name, f.Value)
		if err != nil {
			return err
		}
		have := h[name]
		switch {
		case have == nil:
			values[i] = f.Value
			h[name] = values[i : i+1 : i+1]
		case name == "Cookie":
			have[0] += "; " + f.Value
		default:
			h[name] = append(have, f.Value)
		}
	}
	return nil
}

// headerName is the name of a field as Go's headers have it.
func headerName(name, value string) (string, error) {
	if known, ok := canonical[name]; ok {
		return known, nil
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return "", errMalformed
	case "te":
		if value != "trailers" {
			return "", errMalformed
		}
	}
	if !httpguts.ValidHeaderFieldName(name) || strings.ToLower(name) != name {
		return "", errMalformed
	}
	return textproto.CanonicalMIMEHeaderKey(name), nil
}

// canonical and lower translate names that nearly every request or answer has.
var canonical, lower = func() (c, l map[string]string) {
	c, l = map[string]string{}, map[string]string{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Audit-Id", "Authorization", "Cache-Control", "Content-Encoding", "Content-Length",
		"Content-Type", "Date", "Etag", "Expect", "Host", "If-None-Match", "Kubectl-Command", "Kubectl-Session", "Location",
		"Retry-After", "Trailer", "Traceparent", "User-Agent", "Vary", "Warning", "X-Content-Type-Options",
		"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid",
	} {
		c[strings.ToLower(name)], l[name] = name, strings.ToLower(name)
	}
	return c, l
}()

func lowerName(name string) string {
	if l, ok := lower[name]; ok {
		return l
	}
	return strings.ToLower(name)
}

// expectBody prepares the stream for a body of which the request says what it will.
func (st *stream) expectBody(r *http.Request) error {
	r.ContentLength = -1
	if n, ok := r.Header["Content-Length"]; ok {
		v, err := strconv.ParseUint(n[0], 10, 63)
		if err != nil || len(n) > 1 {
			return errMalformed
		}
		r.ContentLength = int64(v)
	}
	st.declared = r.ContentLength
	if names := r.Header["Trailer"]; names != nil {
		r.Trailer = http.Header{}
		for _, list := range names {
			for name := range strings.SplitSeq(list, ",") {
				name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
				if httpguts.ValidTrailerHeader(name) {
					r.Trailer[name] = nil
				}
			}
		}
		st.trailer = r.Trailer
		delete(r.Header, "Trailer")
	}
	st.continues = httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
	if st.continues {
		delete(r.Header, "Expect")
	}
	r.Body = st.body
	return nil
}
