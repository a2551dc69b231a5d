package apiserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/codec"
)

var statusKind = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// fail answers with an error as a Status.
func (c *call) fail(err error) {
	status := statusOf(c.overdue(err))
	out, nerr := c.s.accepted.Negotiate(c.r.Header.Get("Accept"), request.Route{Plain: true})
	if nerr != nil {
		out.Media = codec.JSON
	}
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	if status.Code == http.StatusUnauthorized {
		c.w.Header().Del("Content-Length")
		if c.r.ProtoMajor == 2 {
			c.w.Header()["Connection"] = []string{"close"} // see parting
		}
	}
	c.out.Media = out.Media
	c.object(int(status.Code), statusKind, &status)
}

// statusOf turns any error into a Status (handlers/responsewriters,
// ErrorToAPIStatus).
func statusOf(err error) metav1.Status {
	var s metav1.Status
	var api apierrors.APIStatus
	if errors.As(err, &api) {
		s = api.Status()
		if s.Status == "" {
			s.Status = metav1.StatusFailure
		}
		if s.Code == 0 {
			s.Code = http.StatusInternalServerError
		}
	} else {
		s = metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
	}
	s.TypeMeta = metav1.TypeMeta{}
	return s
}

// status answers with the outcome of a request that has no object.
func (c *call) status(code int, s *metav1.Status) {
	if s.Code == 0 && s.Status == metav1.StatusFailure {
		s.Code = int32(code)
	}
	c.object(code, statusKind, s)
}

// object answers with an object that no cache holds.
func (c *call) object(code int, gvk schema.GroupVersionKind, obj runtime.Object) {
	c.auditAnswered(gvk, obj)
	media := c.out.Media
	if media == codec.Protobuf && !codec.HasProtobuf(obj) {
		media = codec.JSON
	}
	body, err := codec.Body(media, obj)
	if err != nil {
		c.s.tel.Log.Error("encode an answer", "path", c.r.URL.Path, "err", err)
		c.code = http.StatusInternalServerError
		http.Error(c.w, err.Error(), http.StatusInternalServerError)
		return
	}
	c.body(code, media, gvk, body)
}

// body writes a whole object of which the encoding is there.
func (c *call) body(code int, media codec.Media, gvk schema.GroupVersionKind, body []byte) {
	buf := buffers.get()
	defer buffers.put(buf)
	b := codec.AppendObject((*buf)[:0], media, gvk, body)
	if media == codec.JSON {
		if c.out.Pretty {
			var p bytes.Buffer
			if json.Indent(&p, b, "", "  ") == nil {
				b = p.Bytes()
			}
		} else {
			b = append(b, '\n')
		}
	}
	*buf = b
	c.code = code
	w, done := c.begin(code, media.ContentType(), len(b))
	defer done()
	_, _ = w.Write(b) // the client may be gone; nobody else is to be told
}

// head sets the headers of every answer.
func (c *call) head(contentType string) {
	h := c.w.Header()
	h["Content-Type"] = []string{contentType}
	if len(c.warnings) > 0 {
		h["Warning"] = append(h["Warning"], warningHeaders(c.warnings)...)
		c.warnings = nil
	}
}

var (
	noCache = []string{"no-cache, private"} // on every answer; discovery has its own
	noSniff = []string{"nosniff"}
)

// entry answers with an object of the cache.
func (c *call) entry(code int, e *cache.Entry) {
	if c.out.As != "" {
		c.transformed(code, e)
		return
	}
	body, err := e.Body(c.out.Media, c.version)
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	c.auditEntries(codec.GVK(c.kind, c.version), nil, e)
	c.body(code, c.out.Media, codec.GVK(c.kind, c.version), body)
}

// frameHeader begins a frame of a protobuf stream: its length.
func frameHeader(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}
