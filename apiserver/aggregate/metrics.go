package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

type metrics struct {
	unavailable *prometheus.GaugeVec
	failures    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		unavailable: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "aggregator_unavailable_apiservice", Help: "APIServices that are not available."}, []string{"name"}),
		failures:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aggregator_unavailable_apiservice_total", Help: "Times that an APIService was found unavailable, by reason."}, []string{"name", "reason"}),
	}
	for _, c := range []prometheus.Collector{m.unavailable, m.failures} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) note(name string, c apiregistrationv1.APIServiceCondition) {
	if c.Status == apiregistrationv1.ConditionTrue {
		m.unavailable.WithLabelValues(name).Set(0)
		return
	}
	m.unavailable.WithLabelValues(name).Set(1)
	m.failures.WithLabelValues(name, c.Reason).Inc()
}
