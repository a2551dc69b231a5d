package apiserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/telemetry"
)

// requestTime is how long a request may take at most (--request-timeout).
const requestTime = 60 * time.Second

// limit finds how long the request may take; it answers 400 and returns false where
// the query says it in no words (endpoints/filters, request_deadline.go). Requests
// that last are not bounded.
func (c *call) limit() bool {
	c.time = requestTime
	if text := c.query.Get("timeout"); text != "" && !c.lasts() {
		d, err := time.ParseDuration(text)
		if err != nil {
			c.fail(apierrors.NewBadRequest("invalid timeout specified in the request URL - " + err.Error()))
			return false
		}
		if d > 0 && d < requestTime {
			c.time = d
		}
	}
	c.bounded = boundedContext{Context: c.r.Context(), trace: traceOf(c.r.Header)}
	if !c.lasts() {
		c.bounded.end = c.begun.Add(c.time)
	}
	return true
}

// ctx ends when the client is gone or the request's time is over, and carries the
// trace that the client asked for. Nothing is made for it before somebody waits.
func (c *call) ctx() context.Context {
	if c.bounded.Context == nil {
		return c.r.Context()
	}
	return &c.bounded
}

// boundedContext is a context with a deadline for which a timer runs only once
// somebody waits for it.
type boundedContext struct {
	context.Context
	end   time.Time // zero: none
	trace string

	once   sync.Once
	timed  context.Context
	cancel context.CancelFunc
}

func (b *boundedContext) Deadline() (time.Time, bool) {
	if t, ok := b.Context.Deadline(); b.end.IsZero() || ok && t.Before(b.end) {
		return t, ok
	}
	return b.end, true
}

func (b *boundedContext) start() context.Context {
	b.once.Do(func() { b.timed, b.cancel = context.WithDeadline(b.Context, b.end) })
	return b.timed
}

func (b *boundedContext) Done() <-chan struct{} {
	if b.end.IsZero() {
		return b.Context.Done()
	}
	return b.start().Done()
}

func (b *boundedContext) Err() error {
	if b.end.IsZero() {
		return b.Context.Err()
	}
	return b.start().Err()
}

func (b *boundedContext) Value(key any) any {
	if b.trace != "" && key == telemetry.TraceKey {
		return b.trace
	}
	return b.Context.Value(key)
}

// stop ends the timer, if one runs. Nobody may begin to wait any more.
func (b *boundedContext) stop() {
	b.once.Do(func() { b.timed, b.cancel = b.Context, func() {} })
	b.cancel()
}

// overdue is the answer to what took too long: that its time is over is seen where
// it waited (server/filters, timeout.go).
func (c *call) overdue(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !c.bounded.end.IsZero() && !time.Now().Before(c.bounded.end) {
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
	}
	return err
}

// boundBody keeps a client that sends its body slowly from holding the request for
// longer than it may take. Servers whose connections know no deadlines bound it
// themselves.
func (c *call) boundBody() {
	if c.bounded.end.IsZero() || c.r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(c.bounded.end)
}

// traceOf is the W3C trace that the client is in, as it wrote it, or "" where that
// is none: version, trace, span and flags in hexadecimal digits, not all zero
// (www.w3.org/TR/trace-context).
func traceOf(h http.Header) string {
	v := h["Traceparent"]
	if len(v) != 1 || !validTrace(v[0]) {
		return ""
	}
	return v[0]
}

func validTrace(s string) bool {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') || len(s) > 256 {
		return false
	}
	for i, c := range []byte(s[:55]) {
		if i == 2 || i == 35 || i == 52 {
			continue
		}
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}

// parting tells some HTTP/2 clients to connect anew after this answer, so that
// they spread over servers (server/filters, goaway.go), and all who are nobody: a
// connection is dear, and they shall not have one for long
// (UnauthenticatedHTTP2DOSMitigation).
func (c *call) parting() {
	if c.r.ProtoMajor != 2 {
		return
	}
	if chance := c.s.opt.GoawayChance; c.user.Name == auth.UserAnonymous || chance > 0 && rand.Float64() < chance {
		c.w.Header()["Connection"] = []string{"close"}
	}
}
