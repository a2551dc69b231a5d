package apiserver

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/audit"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// What audit records of a call. Without a policy, and for requests that the policy
// leaves out, c.audit is nil and nothing here does anything.

const auditIDHeader = "Audit-Id"

// identifyRequest gives the request an id, its client's where it brings one, and
// tells it in the answer (endpoints/filters, WithAuditInit).
func (c *call) identifyRequest() {
	if c.id = c.r.Header.Get(auditIDHeader); c.id == "" {
		c.id = requestID()
	}
	c.w.Header()[auditIDHeader] = []string{c.id}
}

// requestID is a random UUID. Nobody has to be unable to guess it.
func requestID() string {
	const digits = "0123456789abcdef"
	var b [36]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range b {
		switch i {
		case 8, 13, 18, 23:
			b[i] = '-'
			continue
		case 14:
			b[i] = '4'
			continue
		case 19:
			b[i] = digits[8|lo&3]
			lo >>= 2
			continue
		}
		if i < 18 {
			b[i], hi = digits[hi&15], hi>>4
		} else {
			b[i], lo = digits[lo&15], lo>>4
		}
	}
	return string(b[:])
}

// auditBegin records that the request has come from the user who was found; failed
// tells that none was. False: it was refused because that could not be kept.
func (c *call) auditBegin(failed bool) bool {
	log := c.s.opt.Audit
	if log == nil {
		return true
	}
	a := c.attributes()
	if failed {
		a.User = nil
	}
	rec := log.Begin(c.r, c.id, a, c.begun)
	if rec == nil {
		return true
	}
	long := c.info.Verb == "watch" || c.info.Verb == "proxy" || c.info.IsResource && slices.Contains(lasting, c.info.Sub)
	if failed {
		// Such a request has no beginning and no end (WithFailedAuthenticationAudit).
		rec.Fails(c.r)
		c.w = &auditWriter{ResponseWriter: c.w, rec: rec, started: true}
		return true
	}
	if err := rec.Received(); err != nil {
		c.internalError(errors.New("failed to store audit event"))
		return false
	}
	c.audit = rec
	c.w = &auditWriter{ResponseWriter: c.w, rec: rec, started: long}
	return true
}

// auditEnd records that the answer is whole.
func (c *call) auditEnd() {
	if c.audit != nil {
		c.audit.Complete()
	}
}

// annotate records what admission says, from the level on that it says it for.
func (c *call) annotate(a admission.AuditAnnotation) {
	if c.audit != nil && (a.Level != admission.AuditRequest || c.audit.WantsRequest()) {
		c.audit.Annotate(a.Key, a.Value)
	}
}

// auditDecision records how the request was authorized.
func (c *call) auditDecision(d auth.Decision, reason string, err error) {
	switch {
	case c.audit == nil:
		return
	case d == auth.Allow:
		c.audit.Annotate(audit.AnnotationDecision, "allow")
	case err != nil:
		reason = "internal error"
	default:
		c.audit.Annotate(audit.AnnotationDecision, "forbid")
	}
	c.audit.Annotate(audit.AnnotationReason, reason)
}

// internalError answers what is not told as a Status (handlers/responsewriters,
// InternalError).
func (c *call) internalError(err error) {
	c.code = http.StatusInternalServerError
	http.Error(c.w, auth.Sanitize(fmt.Sprintf("Internal Server Error: %q: %v", c.r.RequestURI, err)), c.code)
}

// auditHub records the object that was sent, with its defaults.
func (c *call) auditHub(obj kinds.Object) {
	if c.audit == nil {
		return
	}
	c.audit.Refer(obj)
	if !c.audit.WantsRequest() {
		return
	}
	shown, err := codec.FromHub(c.version, obj)
	if err != nil {
		c.s.tel.Log.Error("show a request to audit", "id", c.id, "err", err)
		return
	}
	c.auditSent(codec.GVK(c.kind, c.version), shown)
}

// auditSent records an object that was sent for a subresource, or options.
func (c *call) auditSent(gvk schema.GroupVersionKind, obj runtime.Object) {
	if c.audit == nil || !c.audit.WantsRequest() {
		return
	}
	if raw, ok := c.auditJSON(gvk, obj); ok {
		c.audit.Request(raw)
	}
}

// auditPatch records a patch as it was sent; one in YAML as JSON.
func (c *call) auditPatch(data []byte) {
	if c.audit == nil || !c.audit.WantsRequest() {
		return
	}
	if !json.Valid(data) {
		var err error
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return // it will be refused
		}
	}
	c.audit.Request(data)
}

func (c *call) auditJSON(gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, bool) {
	body, err := codec.Body(codec.JSON, obj)
	if err != nil {
		c.s.tel.Log.Error("show an object to audit", "id", c.id, "err", err)
		return nil, false
	}
	return codec.AppendObject(nil, codec.JSON, gvk, body), true
}

// auditAnswered records an answer that no cache holds.
func (c *call) auditAnswered(gvk schema.GroupVersionKind, obj runtime.Object) {
	if c.audit == nil {
		return
	}
	if s, ok := obj.(*metav1.Status); ok {
		c.audit.Status(s)
	}
	if !c.audit.WantsResponse() {
		return
	}
	if raw, ok := c.auditJSON(gvk, obj); ok {
		c.audit.Response(raw)
	}
}

// auditEntries records objects of the cache: one, or a list with its metadata.
func (c *call) auditEntries(gvk schema.GroupVersionKind, list *metav1.ListMeta, entries ...*cache.Entry) {
	if c.audit == nil || !c.audit.WantsResponse() {
		return
	}
	var b []byte
	for i, e := range entries {
		body, err := e.Body(codec.JSON, c.version)
		if err != nil {
			c.s.tel.Log.Error("show an answer to audit", "id", c.id, "err", err)
			return
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, body...)
	}
	if list != nil {
		m, err := json.Marshal(list)
		if err != nil {
			c.s.tel.Log.Error("show an answer to audit", "id", c.id, "err", err)
			return
		}
		b = slices.Concat([]byte(`{"metadata":`), m, []byte(`,"items":[`), b, []byte("]}"))
	}
	c.audit.Response(codec.AppendObject(nil, codec.JSON, gvk, b))
}

// auditWriter tells a record the code of the answer, and, where started is true, that
// the answer has begun.
type auditWriter struct {
	http.ResponseWriter
	rec     *audit.Record
	started bool
	once    sync.Once
}

func (w *auditWriter) coded(code int) {
	w.once.Do(func() {
		w.rec.Code(code)
		if w.started {
			w.rec.Started()
		}
	})
}

func (w *auditWriter) WriteHeader(code int) {
	w.coded(code)
	w.ResponseWriter.WriteHeader(code)
}

func (w *auditWriter) Write(b []byte) (int, error) {
	w.coded(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *auditWriter) Flush() {
	w.coded(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // as http.Flusher, which cannot fail
}

// Hijack implements http.Hijacker.
func (w *auditWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.coded(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves http.ResponseController.
func (w *auditWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
