package gate

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of one server, under Kubernetes' names
// (util/flowcontrol/metrics).
type Metrics struct {
	rejected, dispatched                             *prometheus.CounterVec
	executed, waited, seats, queueLength, watchCount *prometheus.HistogramVec
	fair                                             prometheus.Gauge
	read                                             *reader
}

type metrics struct {
	*Metrics
	mu    sync.Mutex
	known map[[2]string]*series
}

// series are the metrics of one schema in one level.
type series struct {
	level, schema                                string
	m                                            *metrics
	dispatched                                   prometheus.Counter
	seats, queueLength                           prometheus.Observer
	waitDone, waitGone                           prometheus.Observer
	executed, executedWatch                      prometheus.Observer
	watchers                                     prometheus.Observer
	running, runningSeats, waiting, waitingSeats atomic.Int64
}

const namespace, subsystem = "apiserver", "flowcontrol"

var flowLabels = []string{"priority_level", "flow_schema"}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, append(append([]string{}, flowLabels...), labels...))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}, append(append([]string{}, flowLabels...), labels...))
	}
	times := []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}
	m := &Metrics{
		rejected:    counter("rejected_requests_total", "Requests refused by priority and fairness.", "reason"),
		dispatched:  counter("dispatched_requests_total", "Requests let in by priority and fairness."),
		executed:    histogram("request_execution_seconds", "How long requests held their seats.", times, "type"),
		waited:      histogram("request_wait_duration_seconds", "How long requests waited in their queue.", times, "execute"),
		seats:       histogram("work_estimated_seats", "Seats that requests were estimated to need.", []float64{1, 2, 4, 10, 25, 50, 100}),
		queueLength: histogram("request_queue_length_after_enqueue", "Requests that wait, as each that is queued sees it.", []float64{0, 10, 25, 50, 100, 250, 500, 1000}),
		watchCount:  histogram("watch_count_samples", "Watches that a write was estimated to be told to.", []float64{0, 1, 10, 100, 1000, 10000}),
		fair:        prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "seat_fair_frac", Help: "Part of its demand that each level that can use it gets."}),
		read:        newReader(),
	}
	for _, c := range []prometheus.Collector{m.rejected, m.dispatched, m.executed, m.waited, m.seats, m.queueLength, m.watchCount, m.fair, m.read} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) of(g *Gate) *metrics {
	x := &metrics{Metrics: m, known: map[[2]string]*series{}}
	m.read.gate.Store(g)
	return x
}

// series finds those of a schema.
func (m *metrics) series(level, schema string) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := [2]string{level, schema}
	if s := m.known[k]; s != nil {
		return s
	}
	s := &series{
		level: level, schema: schema, m: m,
		dispatched:    m.dispatched.WithLabelValues(level, schema),
		seats:         m.seats.WithLabelValues(level, schema),
		queueLength:   m.queueLength.WithLabelValues(level, schema),
		waitDone:      m.waited.WithLabelValues(level, schema, "true"),
		waitGone:      m.waited.WithLabelValues(level, schema, "false"),
		executed:      m.executed.WithLabelValues(level, schema, "regular"),
		executedWatch: m.executed.WithLabelValues(level, schema, "watch"),
		watchers:      m.watchCount.WithLabelValues(level, schema),
	}
	m.known[k] = s
	return s
}

func (s *series) refused(reason string) prometheus.Counter {
	return s.m.rejected.WithLabelValues(s.level, s.schema, reason)
}

// reader tells the state of the levels when metrics are scraped; requests do
// nothing for it.
type reader struct {
	gate                                                                          atomic.Pointer[Gate]
	waiting, waitingSeats, running, runningSeats                                  *prometheus.Desc
	nominal, lower, upper, limit, high, average, std, smoothed, target, r, denied *prometheus.Desc
}

func newReader() *reader {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
	}
	level := "priority_level"
	return &reader{
		waiting:      d("current_inqueue_requests", "Requests that wait in queues.", flowLabels...),
		waitingSeats: d("current_inqueue_seats", "Seats that requests in queues wait for.", flowLabels...),
		running:      d("current_executing_requests", "Requests that are being served; watches only until they have begun.", flowLabels...),
		runningSeats: d("current_executing_seats", "Seats that requests hold.", flowLabels...),
		nominal:      d("nominal_limit_seats", "Seats of each level when all are busy.", level),
		lower:        d("lower_limit_seats", "Seats that a level never lends.", level),
		upper:        d("upper_limit_seats", "Seats that a level has at most, with those that it borrows.", level),
		limit:        d("current_limit_seats", "Seats that a level has now.", level),
		high:         d("demand_seats_high_watermark", "Most seats that were asked for at once since the last adjustment.", level),
		average:      d("demand_seats_average", "Seats that were asked for, on the average of the last adjustment's time.", level),
		std:          d("demand_seats_stdev", "Standard deviation of the seats that were asked for.", level),
		smoothed:     d("demand_seats_smoothed", "Demand for seats that counts for borrowing.", level),
		target:       d("target_seats", "Seats that a level's demand asks for.", level),
		r:            d("current_r", "Virtual time of a level.", level),
		denied:       d("request_dispatch_no_accommodation_total", "Times that the next request found too few seats.", level),
	}
}

// Describe implements prometheus.Collector.
func (x *reader) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(x, c) }

// Collect implements prometheus.Collector.
func (x *reader) Collect(c chan<- prometheus.Metric) {
	g := x.gate.Load()
	if g == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	g.metrics.mu.Lock()
	for _, s := range g.metrics.known {
		gauge(x.waiting, float64(s.waiting.Load()), s.level, s.schema)
		gauge(x.waitingSeats, float64(s.waitingSeats.Load()), s.level, s.schema)
		gauge(x.running, float64(s.running.Load()), s.level, s.schema)
		gauge(x.runningSeats, float64(s.runningSeats.Load()), s.level, s.schema)
	}
	g.metrics.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.levels {
		l.mu.Lock()
		n := l.state.Counts()
		gauge(x.nominal, float64(l.limits.Nominal), l.name)
		gauge(x.lower, float64(l.limits.Min), l.name)
		gauge(x.upper, float64(l.limits.Max), l.name)
		gauge(x.limit, float64(n.Limit), l.name)
		gauge(x.high, float64(l.stats.HighWatermark), l.name)
		gauge(x.average, l.stats.Average, l.name)
		gauge(x.std, l.stats.Std, l.name)
		gauge(x.smoothed, l.smoothed, l.name)
		gauge(x.target, l.target, l.name)
		gauge(x.r, n.R, l.name)
		c <- prometheus.MustNewConstMetric(x.denied, prometheus.CounterValue, float64(n.Denied), l.name)
		l.mu.Unlock()
	}
}
