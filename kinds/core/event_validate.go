package core

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// validateEvent judges an event as the core group does: one with an eventTime says
// who reports what, an older form only where.
func validateEvent(e *v1.Event) field.ErrorList { return ValidateEvent(e, "reportingComponent") }

// ValidateEvent is the judgement of all versions; reporter is the version's name for
// the field of who reports.
func ValidateEvent(e *v1.Event, reporter string) field.ErrorList {
	var l rules.List
	object := e.InvolvedObject.Namespace
	mismatch := func() {
		l.Invalid(field.NewPath("involvedObject", "namespace"), object, "does not match event.namespace")
	}
	if e.EventTime.IsZero() {
		if object == "" && e.Namespace != metav1.NamespaceNone && e.Namespace != metav1.NamespaceDefault ||
			object != "" && object != e.Namespace {
			mismatch()
		}
	} else {
		if object == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			mismatch()
		}
		eventReport(&l, e, reporter)
	}
	l.Messages(field.NewPath("namespace"), e.Namespace, validation.IsDNS1123Subdomain(e.Namespace))
	return l.Errors()
}

func eventReport(l *rules.List, e *v1.Event, reporter string) {
	controller := field.NewPath(reporter)
	if e.ReportingController == "" {
		l.Required(controller, "")
	}
	l.Add(rules.QualifiedName(e.ReportingController, controller)...)
	for _, f := range []struct{ name, value string }{
		{"reportingInstance", e.ReportingInstance}, {"action", e.Action}, {"reason", e.Reason},
	} {
		const most = 128
		if f.value == "" {
			l.Required(field.NewPath(f.name), "")
		}
		if len(f.value) > most {
			l.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", most))
		}
	}
	const note = 1024
	if len(e.Message) > note {
		l.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", note))
	}
}
