package apiserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/telemetry"
)

// metrics counts requests under Kubernetes' names and labels
// (endpoints/metrics). A label's value comes from a closed set alone: what a client
// made up is left empty.
type metrics struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	reading  prometheus.Gauge
	writing  prometheus.Gauge
	refused  *prometheus.CounterVec
	old      *prometheus.GaugeVec

	series sync.Map // requestKey to *requestSeries: finding it by its labels is dear
}

type requestKey struct {
	verb, group, version, resource, sub, scope string
	dry                                        bool
	code                                       int
}

type requestSeries struct {
	total    prometheus.Counter
	duration prometheus.Observer
}

var requestBuckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

func newMetrics(t *telemetry.Telemetry) (*metrics, error) {
	durationLabels := []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}
	inflight := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "apiserver_current_inflight_requests",
		Help: "Requests that are being answered, without those that last: watches and streams.",
	}, []string{"request_kind"})
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "Requests by verb, dry run, group, version, resource, subresource, scope, component and code.",
		}, append(slices.Clone(durationLabels), "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_duration_seconds",
			Help:    "How long requests took, by verb, dry run, group, version, resource, subresource, scope and component.",
			Buckets: requestBuckets,
		}, durationLabels),
		reading: inflight.WithLabelValues("readOnly"),
		writing: inflight.WithLabelValues("mutating"),
	}
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apiserver_request_terminations_total",
		Help: "Requests that the server ended to protect itself.",
	}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component", "code"})
	m.old = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "apiserver_requested_deprecated_apis",
		Help: "Deprecated versions that were asked for, with the release without them.",
	}, []string{"group", "version", "resource", "subresource", "removed_release"})
	for _, c := range []prometheus.Collector{m.total, m.duration, inflight, m.refused, m.old} {
		if err := t.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// begin counts a request that does not last as being answered.
func (m *metrics) begin(c *call) prometheus.Gauge {
	g := m.reading
	switch c.info.Verb {
	case "watch", "proxy", "connect":
		return nil
	case "create", "update", "patch", "delete", "deletecollection":
		g = m.writing
	}
	if c.info.IsResource && slices.Contains(lasting, c.info.Sub) {
		return nil
	}
	g.Inc()
	return g
}

// lasting are the subresources that are streams.
var lasting = []string{"log", "exec", "attach", "portforward", "proxy"}

// end counts a request that has been answered.
func (m *metrics) end(c *call, took time.Duration) {
	key := c.metricsKey()
	var s *requestSeries
	if v, ok := m.series.Load(key); ok {
		s = v.(*requestSeries)
	} else {
		dry := ""
		if key.dry {
			dry = "All"
		}
		values := []string{key.verb, dry, key.group, key.version, key.resource, key.sub, key.scope, "apiserver"}
		s = &requestSeries{
			duration: m.duration.WithLabelValues(values...),
			total:    m.total.WithLabelValues(append(values, strconv.Itoa(key.code))...),
		}
		m.series.Store(key, s)
	}
	s.total.Inc()
	s.duration.Observe(took.Seconds())
}

// deprecated notes that a version was asked for that is on its way out, of which
// text warns.
func (c *call) deprecated(text string) {
	in := &c.info
	sub := ""
	if _, ok := c.kind.Subresources[in.Sub]; ok {
		sub = in.Sub
	}
	removed := removedRelease(text)
	c.s.metrics.old.WithLabelValues(in.Group, in.Version, c.kind.Resource, sub, removed).Set(1)
	if c.audit != nil {
		c.audit.Annotate("k8s.io/deprecated", "true")
		if removed != "" {
			c.audit.Annotate("k8s.io/removed-release", removed)
		}
	}
}

// removedRelease is the release without a version, in the words of its warning.
func removedRelease(text string) string {
	_, rest, ok := strings.Cut(text, "unavailable in v")
	if !ok {
		return ""
	}
	release, _, _ := strings.Cut(rest, "+")
	return release
}

// dropped counts a request that was refused so that others are served.
func (m *metrics) dropped(c *call) {
	k := c.metricsKey()
	m.refused.WithLabelValues(k.verb, k.group, k.version, k.resource, k.sub, k.scope, "apiserver", strconv.Itoa(k.code)).Inc()
}

func (c *call) metricsKey() requestKey {
	in := &c.info
	k := requestKey{code: c.code}
	if k.code == 0 {
		k.code = http.StatusOK
	}
	switch in.Verb {
	case "get", "list", "watch", "update", "patch", "delete", "deletecollection":
		k.verb = upperVerbs[in.Verb]
	case "create":
		k.verb = "POST"
		if c.kind != nil && slices.Contains(lasting, in.Sub) {
			k.verb = "CONNECT"
		}
	default:
		k.verb = "OTHER"
	}
	if in.Verb == "get" && in.Sub != "" && slices.Contains(lasting, in.Sub) {
		k.verb = "CONNECT"
	}
	if in.Verb == "patch" && c.r.Header.Get("Content-Type") == string(types.ApplyPatchType) {
		k.verb = "APPLY"
	}
	if c.kind == nil {
		if !in.IsResource && slices.Contains(countedPaths, in.Path) {
			k.sub = in.Path
		}
		return k
	}
	k.group, k.version, k.resource = in.Group, in.Version, c.kind.Resource
	if _, ok := c.kind.Subresources[in.Sub]; ok {
		k.sub = in.Sub
	}
	k.dry = len(c.query["dryRun"]) > 0
	switch {
	case in.Name != "" || in.Verb == "create":
		k.scope = "resource"
	case in.Namespace != "":
		k.scope = "namespace"
	default:
		k.scope = "cluster"
	}
	return k
}

var upperVerbs = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}

var countedPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/", "/metrics", "/api", "/apis", "/openapi/v2", "/openapi/v3"}

// coded remembers the code that a handler of a path answers with.
type coded struct {
	http.ResponseWriter
	c *call
}

func (w coded) WriteHeader(code int) {
	w.c.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap serves http.ResponseController.
func (w coded) Unwrap() http.ResponseWriter { return w.ResponseWriter }
