package match

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"skiff.dev/skiff/telemetry"
)

// Metrics counts what webhooks and policies do, under Kubernetes' names and labels
// (admission/metrics, admission/plugin/policy).
type Metrics struct {
	webhookTime      *prometheus.HistogramVec
	webhookRejection *prometheus.CounterVec
	webhookFailOpen  *prometheus.CounterVec
	webhookRequest   *prometheus.CounterVec

	conditionErrors     *prometheus.CounterVec
	conditionExclusions *prometheus.CounterVec
	conditionTime       *prometheus.HistogramVec

	validations    *prometheus.CounterVec
	validationTime *prometheus.HistogramVec
	mutations      *prometheus.CounterVec
	mutationTime   *prometheus.HistogramVec
}

// Why a webhook's request was refused.
const (
	CallingWebhookError = "calling_webhook_error"
	InternalError       = "apiserver_internal_error"
	NoError             = "no_error"
)

// NewMetrics registers them.
func NewMetrics(t *telemetry.Telemetry) (*Metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		all = append(all, h)
		return h
	}
	expressions := []float64{0.0000005, 0.001, 0.01, 0.1, 1.0}
	m := &Metrics{
		webhookTime: histogram("apiserver_admission_webhook_admission_duration_seconds", "How long webhooks took, by name, type, operation and whether they refused.",
			[]float64{0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25}, "name", "type", "operation", "rejected"),
		webhookRejection: counter("apiserver_admission_webhook_rejection_count", "Requests refused because of webhooks, by name, type, operation, sort of error and code.",
			"name", "type", "operation", "error_type", "rejection_code"),
		webhookFailOpen: counter("apiserver_admission_webhook_fail_open_count", "Failures of webhooks that were ignored, by name and type.", "name", "type"),
		webhookRequest: counter("apiserver_admission_webhook_request_total", "Calls of webhooks by name, type, operation, code and whether they refused.",
			"name", "type", "operation", "code", "rejected"),
		conditionErrors: counter("apiserver_admission_match_condition_evaluation_errors_total", "Match conditions that could not be evaluated, by whose they are and operation.",
			"name", "kind", "type", "operation"),
		conditionExclusions: counter("apiserver_admission_match_condition_exclusions_total", "Requests that match conditions kept away, by whose they are and operation.",
			"name", "kind", "type", "operation"),
		conditionTime: histogram("apiserver_admission_match_condition_evaluation_seconds", "How long match conditions took, by whose they are and operation.",
			[]float64{0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25}, "name", "kind", "type", "operation"),
		validations: counter("apiserver_validating_admission_policy_check_total", "Validations by policy, binding, sort of error and what was done.",
			"policy", "policy_binding", "error_type", "enforcement_action"),
		validationTime: histogram("apiserver_validating_admission_policy_check_duration_seconds", "How long validations took, by policy, binding, sort of error and what was done.",
			expressions, "policy", "policy_binding", "error_type", "enforcement_action"),
		mutations: counter("apiserver_mutating_admission_policy_check_total", "Mutations by policy, binding and sort of error.",
			"policy", "policy_binding", "error_type"),
		mutationTime: histogram("apiserver_mutating_admission_policy_check_duration_seconds", "How long mutations took, by policy, binding and sort of error.",
			expressions, "policy", "policy_binding", "error_type"),
	}
	for _, c := range all {
		if err := t.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Webhook counts a call.
func (m *Metrics) Webhook(name, typ, op string, took time.Duration, rejected bool, code int) {
	r := strconv.FormatBool(rejected)
	m.webhookRequest.WithLabelValues(name, typ, op, strconv.Itoa(min(code, 600)), r).Inc()
	m.webhookTime.WithLabelValues(name, typ, op, r).Observe(took.Seconds())
}

// WebhookRejection counts a refusal and why.
func (m *Metrics) WebhookRejection(name, typ, op, why string, code int) {
	m.webhookRejection.WithLabelValues(name, typ, op, why, strconv.Itoa(min(code, 600))).Inc()
}

// WebhookFailOpen counts a failure that was ignored.
func (m *Metrics) WebhookFailOpen(name, typ string) {
	m.webhookFailOpen.WithLabelValues(name, typ).Inc()
}

// Validation counts one validation and what was done about it.
func (m *Metrics) Validation(policy, binding, errorType, action string, took time.Duration) {
	m.validations.WithLabelValues(policy, binding, errorType, action).Inc()
	m.validationTime.WithLabelValues(policy, binding, errorType, action).Observe(took.Seconds())
}

// Mutation counts one mutation.
func (m *Metrics) Mutation(policy, binding, errorType string, took time.Duration) {
	m.mutations.WithLabelValues(policy, binding, errorType).Inc()
	m.mutationTime.WithLabelValues(policy, binding, errorType).Observe(took.Seconds())
}
