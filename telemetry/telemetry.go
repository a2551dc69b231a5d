// Package telemetry is how every room says what it does: structured logs and
// metrics. It imports nothing of ours, so that every other room may import it.
package telemetry

import (
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Telemetry carries the sinks of one process. Pass it down from platform; there
// is no global one.
type Telemetry struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
}

// New writes logs of at least level to w as text, one line a record.
func New(w io.Writer, level slog.Leveler) *Telemetry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Telemetry{
		Log:     slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})),
		Metrics: reg,
	}
}

// Discard swallows logs and keeps metrics that nobody reads: for tests.
func Discard() *Telemetry {
	return &Telemetry{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
}

// For returns a copy whose log lines carry component=name.
func (t *Telemetry) For(name string) *Telemetry {
	return &Telemetry{Log: t.Log.With("component", name), Metrics: t.Metrics}
}
