package request

import (
	"mime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/codec"
)

// Output is the form in which a client wants the answer.
type Output struct {
	Media  codec.Media
	As     string // "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
	Meta   string // version of meta.k8s.io for As
	Pretty bool
	Stream bool // the client named the stream form
}

// MediaError is a 406 or 415 (endpoints/handlers/negotiation).
type MediaError struct {
	Code    int32
	Reason  metav1.StatusReason
	Message string
	// Routed errors come from the matching of routes and carry empty details.
	Routed bool
}

func (e *MediaError) Error() string { return e.Message }

// Status is the answer.
func (e *MediaError) Status() metav1.Status {
	s := metav1.Status{Status: metav1.StatusFailure, Code: e.Code, Reason: e.Reason, Message: e.Message}
	if e.Routed {
		s.Details = &metav1.StatusDetails{}
	}
	return s
}

const (
	plainTypes  = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
	streamTypes = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
)

var media = []struct {
	sub string
	m   codec.Media
}{{"json", codec.JSON}, {"yaml", codec.YAML}, {"vnd.kubernetes.protobuf", codec.Protobuf}}

// Accepted caches parsed Accept headers, of which clients use few.
type Accepted struct {
	m sync.Map
	n atomic.Int32
}

// Route is what a route can answer.
type Route struct {
	// Watchable routes can stream.
	Watchable bool
	// Custom routes serve kinds that users define: they have no protobuf, save that
	// of their metadata alone.
	Custom bool
	// Plain routes have no Tables and no metadata alone: reviews, and errors.
	Plain bool
}

type acceptedKey struct {
	header string
	route  Route
}

// maxAccepted bounds the cache; other headers are parsed each time.
const maxAccepted = 512

// Negotiate finds the form for an Accept header.
func (a *Accepted) Negotiate(header string, r Route) (Output, error) {
	key := acceptedKey{header, r}
	if v, ok := a.m.Load(key); ok {
		return v.(Output), nil
	}
	out, err := negotiate(header, r)
	if err == nil && a.n.Load() < maxAccepted {
		a.n.Add(1)
		a.m.Store(key, out)
	}
	return out, err
}

func negotiate(header string, r Route) (Output, error) {
	if header == "" {
		return Output{}, nil
	}
	if !r.Custom && !routed(header) { // custom kinds are not routed by what they produce
		types := plainTypes
		if r.Watchable {
			types += ", " + streamTypes
		}
		return Output{}, &MediaError{Code: 406, Reason: metav1.StatusReasonNotAcceptable, Routed: true,
			Message: "406: Not Acceptable\n\nAvailable representations: " + types}
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for _, x := range media {
			if clause.Type == "application" && (clause.SubType == x.sub || clause.SubType == "*") || clause.Type == "*" && clause.SubType == "*" {
				if out, ok := accept(clause.Params, x.m); ok && r.allows(out) {
					return out, nil
				}
			}
		}
	}
	return Output{}, &MediaError{Code: 406, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + plainTypes}
}

// allows tells whether the route has such a form.
func (r Route) allows(o Output) bool {
	if r.Plain && o.As != "" {
		return false
	}
	return !r.Custom || o.Media != codec.Protobuf || strings.HasPrefix(o.As, "PartialObjectMetadata")
}

// routed tells whether a route's produced types match, which knows no parameters
// and no application/*.
func routed(header string) bool {
	for _, part := range strings.Split(header, ",") {
		t, _, _ := strings.Cut(part, ";")
		switch strings.TrimSpace(t) {
		case "*/*", codec.TypeJSON, codec.TypeYAML, codec.TypeProtobuf:
			return true
		}
	}
	return false
}

func accept(params map[string]string, m codec.Media) (Output, bool) {
	out := Output{Media: m}
	group := ""
	convert := false
	for k, v := range params {
		switch k {
		case "as":
			out.As, convert = v, true
		case "g":
			group, convert = v, true
		case "v":
			out.Meta, convert = v, true
		case "stream":
			if v != "" && (v != "watch" || m == codec.YAML) {
				return out, false
			}
			out.Stream = v != ""
		case "sv":
			if v != "" && v != "v1" {
				return out, false
			}
		case "pretty":
			out.Pretty = v == "1"
		}
	}
	if !convert {
		return out, true
	}
	if group != "meta.k8s.io" || out.Meta != "v1" && out.Meta != "v1beta1" {
		return out, false
	}
	switch out.As {
	case "Table":
		return out, m != codec.Protobuf
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return out, true
	}
	return out, false
}

// Body finds the medium of a request's body.
func Body(contentType string) (codec.Media, error) {
	if contentType == "" || contentType == codec.TypeJSON {
		return codec.JSON, nil
	}
	if t, _, err := mime.ParseMediaType(contentType); err == nil {
		switch t {
		case codec.TypeJSON:
			return codec.JSON, nil
		case codec.TypeYAML:
			return codec.YAML, nil
		case codec.TypeProtobuf:
			return codec.Protobuf, nil
		}
	}
	return 0, &MediaError{Code: 415, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + plainTypes}
}

// ErrCustomPatchType is the answer to a patch of a type that custom resources do not
// take: nothing says how their lists merge.
func ErrCustomPatchType() error {
	return &MediaError{Code: 415, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"}
}

// ErrPatchType is the answer to a patch of an unknown type.
func ErrPatchType() error {
	return &MediaError{Code: 415, Reason: metav1.StatusReasonUnsupportedMediaType, Routed: true, Message: "415: Unsupported Media Type"}
}
