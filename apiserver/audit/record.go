package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"skiff.dev/skiff/auth"
)

// Sink takes events, each a line of JSON, until Close. Write tells an error only
// where it waits for the event to be kept.
type Sink interface {
	Write(line []byte) error
	// Required tells that a request may not go on whose beginning was not kept.
	Required() bool
	Close()
}

// Log is a policy and where its events go.
type Log struct {
	Policy *Policy
	Sinks  []Sink
	Now    func() time.Time
	Errors *slog.Logger // told of events that were lost
}

// Close keeps what is still on its way.
func (l *Log) Close() {
	for _, s := range l.Sinks {
		s.Close()
	}
}

// Record is the record of one request. It is used by one goroutine at a time.
type Record struct {
	log    *Log
	choice Choice
	event  auditv1.Event
}

const maxUserAgent = 1024

// Begin makes the record of a request by a.User, nil where the policy wants none. a is
// the request as it is authorized (audit, LogRequestMetadata).
func (l *Log) Begin(r *http.Request, id string, a *auth.Attributes, received time.Time) *Record {
	choice := l.Policy.Choose(a)
	if choice.Level == auditv1.LevelNone {
		return nil
	}
	rec := l.record(choice, id, a, received)
	e := &rec.event
	e.RequestURI, e.UserAgent = r.URL.RequestURI(), r.UserAgent()
	if len(e.UserAgent) > maxUserAgent {
		e.UserAgent = e.UserAgent[:maxUserAgent] + "...TRUNCATED"
	}
	for _, ip := range utilnet.SourceIPs(r) {
		e.SourceIPs = append(e.SourceIPs, ip.String())
	}
	return rec
}

func (l *Log) record(choice Choice, id string, a *auth.Attributes, received time.Time) *Record {
	rec := &Record{log: l, choice: choice}
	e := &rec.event
	e.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: auditv1.SchemeGroupVersion.String()}
	e.Level, e.AuditID, e.Verb = choice.Level, types.UID(id), a.Verb
	e.RequestReceivedTimestamp = metav1.NewMicroTime(received)
	if a.User != nil {
		e.User = userInfo(a.User)
	}
	if a.IsResource {
		e.ObjectRef = &auditv1.ObjectReference{Namespace: a.Namespace, Name: a.Name, Resource: a.Resource, Subresource: a.Subresource, APIGroup: a.Group, APIVersion: a.Version}
	}
	return rec
}

func userInfo(u *auth.User) authenticationv1.UserInfo {
	i := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		i.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			i.Extra[k] = v
		}
	}
	return i
}

// Impersonates notes whom the user acts for, and the verb that allowed it.
func (r *Record) Impersonates(u *auth.User, constraint string) {
	i := userInfo(u)
	r.event.ImpersonatedUser = &i
	if constraint != "" {
		r.event.AuthenticationMetadata = &auditv1.AuthenticationMetadata{ImpersonationConstraint: constraint}
	}
}

// Annotate adds an annotation. The first value of a key stays.
func (r *Record) Annotate(key, value string) {
	if _, ok := r.event.Annotations[key]; ok {
		r.log.Errors.Warn("audit annotation given twice; the first stays", "key", key, "value", value)
		return
	}
	if r.event.Annotations == nil {
		r.event.Annotations = map[string]string{}
	}
	r.event.Annotations[key] = value
}

// Annotations that the authorization of a request makes.
const (
	AnnotationDecision = "authorization.k8s.io/decision"
	AnnotationReason   = "authorization.k8s.io/reason"
)

// WantsRequest tells whether the request's object is to be recorded.
func (r *Record) WantsRequest() bool {
	return r.choice.Level == auditv1.LevelRequest || r.choice.Level == auditv1.LevelRequestResponse
}

// WantsResponse tells whether the answer's object is to be recorded.
func (r *Record) WantsResponse() bool { return r.choice.Level == auditv1.LevelRequestResponse }

// Request records the object of the request, as JSON, where it is wanted.
func (r *Record) Request(raw []byte) {
	if r.WantsRequest() {
		r.event.RequestObject = r.unknown(raw)
	}
}

// Refer completes what object the request is for, which its path may not tell.
func (r *Record) Refer(o metav1.Object) {
	ref := r.event.ObjectRef
	if ref == nil {
		return
	}
	if ref.Namespace == "" {
		ref.Namespace = o.GetNamespace()
	}
	if ref.Name == "" {
		ref.Name = o.GetName()
	}
	if ref.UID == "" {
		ref.UID = o.GetUID()
	}
	if ref.ResourceVersion == "" {
		ref.ResourceVersion = o.GetResourceVersion()
	}
}

// Response records the answer's object, as JSON, where it is wanted.
func (r *Record) Response(raw []byte) {
	if r.WantsResponse() {
		r.event.ResponseObject = r.unknown(raw)
	}
}

// Status records an answer that is a Status: the fields whose size is bounded.
func (r *Record) Status(s *metav1.Status) {
	r.event.ResponseStatus = &metav1.Status{Status: s.Status, Message: s.Message, Reason: s.Reason, Details: s.Details, Code: s.Code}
}

func (r *Record) unknown(raw []byte) *runtime.Unknown {
	if r.choice.OmitManagedFields {
		raw = withoutManagedFields(raw)
	}
	return &runtime.Unknown{Raw: bytes.Clone(raw), ContentType: runtime.ContentTypeJSON}
}

// Code records the answer's code.
func (r *Record) Code(code int) {
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{}
	}
	r.event.ResponseStatus.Code = int32(code)
}

// Fails records why nobody was found to have asked.
func (r *Record) Fails(req *http.Request) {
	r.event.ResponseStatus = &metav1.Status{Message: attempted(req)}
}

func attempted(req *http.Request) string {
	var tried []string
	if _, _, ok := req.BasicAuth(); ok {
		tried = append(tried, "basic")
	}
	if f := strings.Fields(req.Header.Get("Authorization")); len(f) > 1 && strings.EqualFold(f[0], "bearer") {
		tried = append(tried, "bearer")
	}
	if req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
		tried = append(tried, "x509")
	}
	if len(tried) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(tried, ", ")
}

// Received tells that the request has come. An error says that it may not go on.
func (r *Record) Received() error { return r.emit(auditv1.StageRequestReceived) }

// Started tells that the answer to a request that lasts has begun.
func (r *Record) Started() { _ = r.emit(auditv1.StageResponseStarted) }

// Complete tells that the answer is whole.
func (r *Record) Complete() {
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early"}
	}
	_ = r.emit(auditv1.StageResponseComplete)
}

// Panicked tells that the server failed at the request.
func (r *Record) Panicked(p any) {
	r.event.ResponseStatus = &metav1.Status{Code: http.StatusInternalServerError, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonInternalError, Message: fmt.Sprintf("APIServer panic'd: %v", p)}
	_ = r.emit(auditv1.StagePanic)
}

// emit writes the event as it is now to every sink.
func (r *Record) emit(stage auditv1.Stage) error {
	if slices.Contains(r.choice.OmitStages, stage) {
		return nil
	}
	r.event.Stage = stage
	r.event.StageTimestamp = metav1.NewMicroTime(r.log.Now())
	if stage == auditv1.StageRequestReceived {
		r.event.StageTimestamp = r.event.RequestReceivedTimestamp
	}
	line, err := json.Marshal(&r.event)
	if err != nil {
		r.log.Errors.Error("an audit event cannot be written as JSON", "id", r.event.AuditID, "err", err)
		return nil
	}
	line = append(line, '\n')
	var refused error
	for _, s := range r.log.Sinks {
		if err := s.Write(line); err != nil {
			r.log.Errors.Error("an audit event was lost", "id", r.event.AuditID, "stage", stage, "err", err)
			if s.Required() {
				refused = err
			}
		}
	}
	return refused
}

// withoutManagedFields takes metadata.managedFields out of an object, and out of the
// items of a list.
func withoutManagedFields(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`"managedFields"`)) {
		return raw
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v map[string]any
	if d.Decode(&v) != nil {
		return raw // a patch that is a list: it has no fields of its own
	}
	drop := func(o any) {
		if m, ok := o.(map[string]any); ok {
			if meta, ok := m["metadata"].(map[string]any); ok {
				delete(meta, "managedFields")
			}
		}
	}
	drop(v)
	if items, ok := v["items"].([]any); ok {
		for _, i := range items {
			drop(i)
		}
	}
	out, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return out
}
