package events

import (
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of events.go in pkg/apis/core/validation in
// Kubernetes: events.k8s.io/v1 is stricter than the versions before it.

const reporter = "reportingController"

func validateEvent(obj, before kinds.Object) field.ErrorList {
	e := obj.(*corev1.Event)
	l := rules.List(core.ValidateEvent(e, reporter))
	meta := field.NewPath("metadata")
	if old, ok := before.(*corev1.Event); ok {
		l.Add(apivalidation.ValidateObjectMetaUpdate(&e.ObjectMeta, &old.ObjectMeta, meta)...)
		l.Add(rules.Finalizers(e.Finalizers, meta)...)
		judgeChange(&l, e, old)
		return l.Errors()
	}
	l.Add(apivalidation.ValidateObjectMeta(&e.ObjectMeta, true, rules.DNSSubdomain, meta)...)
	l.Add(rules.Finalizers(e.Finalizers, meta)...)
	judgeSeries(&l, e.Series)
	if e.EventTime.IsZero() {
		l.Required(field.NewPath("eventTime"), "")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		l.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0}, {"source", e.Source != corev1.EventSource{}},
	} {
		if f.set {
			l.Invalid(field.NewPath(f.name), "", "needs to be unset")
		}
	}
	return l.Errors()
}

func judgeSeries(l *rules.List, s *corev1.EventSeries) {
	if s == nil {
		return
	}
	if s.Count < 2 {
		l.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if s.LastObservedTime.IsZero() {
		l.Required(field.NewPath("series.lastObservedTime"), "")
	}
}

// judgeChange lets the series alone change.
func judgeChange(l *rules.List, e, old *corev1.Event) {
	if !reflect.DeepEqual(e.Series, old.Series) {
		judgeSeries(l, e.Series)
	}
	keep := func(name string, value, before any) {
		l.Add(row.Immutable(value, before, field.NewPath(name))...)
	}
	keep("involvedObject", e.InvolvedObject, old.InvolvedObject)
	keep("reason", e.Reason, old.Reason)
	keep("message", e.Message, old.Message)
	keep("source", e.Source, old.Source)
	keep("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	keep("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	keep("count", e.Count, old.Count)
	keep("reason", e.Reason, old.Reason)
	keep("type", e.Type, old.Type)
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		keep("eventTime", e.EventTime, old.EventTime)
	}
	keep("action", e.Action, old.Action)
	keep("related", e.Related, old.Related)
	keep("reportingController", e.ReportingController, old.ReportingController)
	keep("reportingInstance", e.ReportingInstance, old.ReportingInstance)
}
