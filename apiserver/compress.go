package apiserver

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"skiff.dev/skiff/apiserver/pieces"
)

const (
	// compressFrom is the size above which an answer is compressed for a client that
	// accepts it; compressLevel is the level that costs the least. Both are kube-apiserver's
	// (endpoints/handlers/responsewriters).
	compressFrom  = 128 << 10
	compressLevel = pieces.Level
)

var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(io.Discard, compressLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}

// acceptsGzip tells whether a client takes compressed answers. As in Kubernetes a
// quality is not understood: "gzip;q=1" is not gzip.
func acceptsGzip(r *http.Request) bool {
	for _, h := range r.Header["Accept-Encoding"][:min(1, len(r.Header["Accept-Encoding"]))] {
		for token := range strings.SplitSeq(h, ",") {
			if strings.TrimSpace(token) == "gzip" {
				return true
			}
		}
	}
	return false
}

// beginGzip sends the head of an answer that is compressed.
func (c *call) beginGzip(code int, contentType string) {
	c.head(contentType)
	h := c.w.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	c.w.WriteHeader(code)
}

func nothing() {}

// begin sends the head of an answer of a known size and returns what its body is
// written to; done ends it. Errors of writing mean that the client is gone.
func (c *call) begin(code int, contentType string, size int) (w io.Writer, done func()) {
	if size <= compressFrom || !acceptsGzip(c.r) {
		c.head(contentType)
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(size)}
		c.w.WriteHeader(code)
		return c.w, nothing
	}
	c.beginGzip(code, contentType)
	z := compressors.Get().(*gzip.Writer)
	z.Reset(c.w)
	return z, func() {
		_ = z.Close()
		z.Reset(io.Discard)
		compressors.Put(z)
	}
}
