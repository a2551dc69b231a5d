package apiserver

import (
	"github.com/prometheus/client_golang/prometheus"
)

// lastingMetrics count what lasts: watches, their events, streams
// (endpoints/metrics).
type lastingMetrics struct {
	running *prometheus.GaugeVec
	events  *prometheus.CounterVec
}

func newLastingMetrics(reg prometheus.Registerer) (*lastingMetrics, error) {
	m := &lastingMetrics{
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches and streams that are open.",
		}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_watch_events_total", Help: "Events sent to watches.",
		}, []string{"group", "version", "resource"}),
	}
	for _, c := range []prometheus.Collector{m.running, m.events} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// opened counts a request that lasts until what it returns is called. Its kind is
// known.
func (c *call) opened() (closed func()) {
	k := c.metricsKey()
	g := c.s.lasting.running.WithLabelValues(k.verb, k.group, k.version, k.resource, k.sub, k.scope, "apiserver")
	g.Inc()
	return g.Dec
}

// objectCounts tells how many objects of each kind there are when metrics are
// scraped.
type objectCounts struct {
	s                *Server
	resource, stored *prometheus.Desc
}

func newObjectCounts(s *Server) *objectCounts {
	return &objectCounts{s,
		prometheus.NewDesc("apiserver_resource_objects", "Objects of each kind.", []string{"group", "resource"}, nil),
		prometheus.NewDesc("apiserver_storage_objects", "Objects of each kind, by its name with its group.", []string{"resource"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (o *objectCounts) Describe(c chan<- *prometheus.Desc) { c <- o.resource; c <- o.stored }

// Collect implements prometheus.Collector.
func (o *objectCounts) Collect(c chan<- prometheus.Metric) {
	for _, k := range o.s.InProcess(systemUser).Kinds() {
		kc := o.s.cache.Of(k)
		if k.Virtual || kc == nil {
			continue
		}
		n := float64(kc.Snapshot().Len())
		c <- prometheus.MustNewConstMetric(o.resource, prometheus.GaugeValue, n, k.Group, k.Resource)
		c <- prometheus.MustNewConstMetric(o.stored, prometheus.GaugeValue, n, k.GroupResource().String())
	}
}
