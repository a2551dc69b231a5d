package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
)

// maxJSON bounds a body that is decoded as one JSON document.
const maxJSON = 16 << 20

// Request is an HTTP request with what its path says. Form has been parsed.
type Request struct {
	*http.Request
	// Version of the API that the client asked for.
	Version string

	name, value string
}

// NewRequest is for servers and tests: name and value are the path's variable.
func NewRequest(r *http.Request, version, name, value string) *Request {
	return &Request{Request: r, Version: version, name: name, value: value}
}

// Var is the value of the path's variable.
func (r *Request) Var(name string) string {
	if name != r.name {
		return ""
	}
	return r.value
}

// Before and Since compare the request's API version.
func (r *Request) Before(version string) bool { return CompareVersions(r.Version, version) < 0 }

// Since tells that the request's API version is version or newer.
func (r *Request) Since(version string) bool { return !r.Before(version) }

// Has tells whether the query has the parameter, empty or not.
func (r *Request) Has(key string) bool { return r.Form.Has(key) }

// Bool is true for all but "", "0", "no", "false" and "none".
func (r *Request) Bool(key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.Form.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// BoolOr is fallback where the query has no such parameter.
func (r *Request) BoolOr(key string, fallback bool) bool {
	if !r.Has(key) {
		return fallback
	}
	return r.Bool(key)
}

// Int64 reads a number; an absent or empty one is fallback, an invalid one an error.
func (r *Request) Int64(key string, fallback int64) (int64, error) {
	s := r.Form.Get(key)
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, Invalid(err)
	}
	return n, nil
}

// Int64OrZero is 0 for a number that is absent or invalid.
func (r *Request) Int64OrZero(key string) int64 {
	n, err := r.Int64(key, 0)
	if err != nil {
		return 0
	}
	return n
}

// CheckJSON refuses a body that does not claim to be JSON.
func (r *Request) CheckJSON() error {
	ct := r.Header.Get("Content-Type")
	if ct == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	kind, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return Invalid(fmt.Errorf("malformed Content-Type header (%s): %w", ct, err))
	}
	if kind != "application/json" {
		return Invalidf("unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// ReadJSON decodes the body into out; an empty body leaves out as it is.
func (r *Request) ReadJSON(out any) error {
	if err := r.CheckJSON(); err != nil {
		return err
	}
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	err := DecodeJSON(r.Body, out)
	if errors.Is(err, io.EOF) {
		return Invalidf("invalid JSON: got EOF while reading request body")
	}
	return err
}

// DecodeJSON decodes one document of bounded size and refuses what comes after it.
func DecodeJSON(body io.Reader, out any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, io.NopCloser(body), maxJSON))
	if err := dec.Decode(out); err != nil {
		return Invalid(fmt.Errorf("invalid JSON: %w", err))
	}
	if dec.More() {
		return Invalidf("unexpected content after JSON")
	}
	return nil
}

// kinded gives an error a kind without changing its words.
type kinded struct {
	error
	kind error
}

func (k kinded) Unwrap() []error { return []error{k.error, k.kind} }

func as(kind, err error) error {
	if err == nil {
		return nil
	}
	return kinded{err, kind}
}

// Invalid and its like give an error the kind that makes its status, and leave its
// words, which the client reads, as they are.
func Invalid(err error) error { return as(cerrdefs.ErrInvalidArgument, err) } // 400

// NotFound is 404.
func NotFound(err error) error { return as(cerrdefs.ErrNotFound, err) }

// Conflict is 409.
func Conflict(err error) error { return as(cerrdefs.ErrConflict, err) }

// Internal is 500.
func Internal(err error) error { return as(cerrdefs.ErrInternal, err) }

// Unauthorized is 401.
func Unauthorized(err error) error { return as(cerrdefs.ErrUnauthenticated, err) }

// Forbidden is 403.
func Forbidden(err error) error { return as(cerrdefs.ErrPermissionDenied, err) }

// Unavailable is 503.
func Unavailable(err error) error { return as(cerrdefs.ErrUnavailable, err) }

// NotImplemented is 501.
func NotImplemented(err error) error { return as(cerrdefs.ErrNotImplemented, err) }

// ErrNotModified is answered with 304 and no body.
var ErrNotModified = as(cerrdefs.ErrNotModified, errors.New("not modified"))

// Invalidf is Invalid of a formatted error, as are the next.
func Invalidf(format string, a ...any) error { return Invalid(fmt.Errorf(format, a...)) }

// NotFoundf is 404.
func NotFoundf(format string, a ...any) error { return NotFound(fmt.Errorf(format, a...)) }

// Conflictf is 409.
func Conflictf(format string, a ...any) error { return Conflict(fmt.Errorf(format, a...)) }

// Internalf is 500.
func Internalf(format string, a ...any) error { return Internal(fmt.Errorf(format, a...)) }

// ReadAll reads a body of bounded size.
func (r *Request) ReadAll() ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxJSON))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return b, nil
}
