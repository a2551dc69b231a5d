package stream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// log answers pods/log.
func (s *Streams) log(w http.ResponseWriter, r *http.Request, t *target, object kinds.Object) error {
	o, err := logOptions(r.URL.Query())
	if err != nil {
		return err
	}
	if errs := validateLog(o); len(errs) > 0 {
		return apierrors.NewInvalid(v1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), t.name, errs)
	}
	p, err := pod(t, object)
	if err != nil {
		return err
	}
	name, err := container(p, o.Container)
	if err != nil {
		return err
	}
	if p.Spec.NodeName == "" {
		// A pod without a node has written nothing yet.
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h, err := s.node(r.Context(), p)
	if err != nil {
		return err
	}
	out := &logWriter{w: w, name: t.name, follow: o.Follow}
	h.ServeHTTP(out, toNode(r, "/containerLogs/"+p.Namespace+"/"+p.Name+"/"+name, logQuery(o)))
	return out.finish()
}

func logOptions(q url.Values) (*v1.PodLogOptions, error) {
	p := params{q: q}
	stream := p.text("stream")
	if _, ok := q["stream"]; !ok {
		stream = v1.LogStreamAll
	}
	o := &v1.PodLogOptions{
		Container: p.text("container"), Follow: p.flag("follow"), Previous: p.flag("previous"), Timestamps: p.flag("timestamps"),
		SinceSeconds: p.number("sinceSeconds"), SinceTime: p.moment("sinceTime"), TailLines: p.number("tailLines"), LimitBytes: p.number("limitBytes"),
		Stream: &stream,
	}
	return o, p.err
}

func logQuery(o *v1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, set bool) {
		if set {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	q.Set("stream", *o.Stream)
	return q
}

func validateLog(o *v1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if *o.Stream != v1.LogStreamAll { // the feature PodLogsQuerySplitStreams is off in Kubernetes
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	return errs
}

// maxError is how much of a node's refusal is told.
const maxError = 50000

// logWriter passes a node's log on as it comes, and keeps a refusal to be answered
// as a Status.
type logWriter struct {
	w      http.ResponseWriter
	name   string
	follow bool

	code    int
	refusal []byte
	header  http.Header
}

func (l *logWriter) Header() http.Header {
	if l.header == nil {
		l.header = http.Header{}
	}
	return l.header
}

func (l *logWriter) WriteHeader(code int) {
	if l.code != 0 || code < 200 {
		return
	}
	l.code = code
	if code <= http.StatusPartialContent {
		l.w.Header().Set("Content-Type", "text/plain")
		if l.follow {
			l.w.Header().Set("Transfer-Encoding", "chunked")
		}
		l.w.WriteHeader(http.StatusOK)
		if l.follow {
			l.Flush()
		}
	}
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	if l.code > http.StatusPartialContent {
		l.refusal = append(l.refusal, p[:min(len(p), maxError-len(l.refusal))]...)
		return len(p), nil
	}
	n, err := l.w.Write(p)
	if l.follow && err == nil {
		l.Flush()
	}
	return n, err
}

// Flush implements http.Flusher.
func (l *logWriter) Flush() {
	if f, ok := l.w.(http.Flusher); ok && l.code != 0 && l.code <= http.StatusPartialContent {
		f.Flush()
	}
}

func (l *logWriter) finish() error {
	text := string(l.refusal)
	switch {
	case l.code == 0:
		l.WriteHeader(http.StatusOK)
		return nil
	case l.code <= http.StatusPartialContent:
		return nil
	case l.code == http.StatusInternalServerError:
		return apierrors.NewInternalError(errors.New(text))
	case l.code == http.StatusBadRequest:
		return apierrors.NewBadRequest(text)
	}
	return apierrors.NewGenericServerResponse(l.code, "", v1.Resource("pods/log"), l.name, text, 0, false)
}

var _ io.Writer = (*logWriter)(nil)
