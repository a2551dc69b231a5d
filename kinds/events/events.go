// Package events serves core's Event as events.k8s.io's: both are one kind in one
// place, whose hub is core/v1. See package kinds for the table that this is a part
// of; kinds/all adds these forms to core's row.
package events

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	eventsv1beta1 "k8s.io/api/events/v1beta1"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/core"
)

// Versions are the group's forms of core's Event, the current one first.
func Versions() []kinds.Version {
	same := convert.New()
	c := convert.New(
		convert.Instead(func(in *eventsv1.Event, out *corev1.Event) error { *out = *toCore(in); return nil }),
		convert.Instead(func(in *corev1.Event, out *eventsv1.Event) error { *out = *fromCore(in); return nil }),
		// Both forms of this group have the same fields.
		convert.Instead(func(in *eventsv1beta1.Event, out *corev1.Event) error {
			var e eventsv1.Event
			err := same.Convert(in, &e)
			*out = *toCore(&e)
			return err
		}),
		convert.Instead(func(in *corev1.Event, out *eventsv1beta1.Event) error { return same.Convert(fromCore(in), out) }),
	)
	vs := []kinds.Version{
		convert.Current[corev1.Event, eventsv1.Event, eventsv1.EventList](c, eventsv1.SchemeGroupVersion, nil),
		convert.Old[corev1.Event, eventsv1beta1.Event, eventsv1beta1.EventList](c, eventsv1beta1.SchemeGroupVersion, "Event", nil),
	}
	vs[0].Validate = validateEvent
	vs[1].Validate = func(obj, _ kinds.Object) field.ErrorList {
		return core.ValidateEvent(obj.(*corev1.Event), reporter)
	}
	for i := range vs {
		vs[i].FieldLabels = fieldLabels
	}
	return vs
}

// fieldLabels are core's fields under this group's names
// (AddFieldLabelConversionsForEvent in pkg/apis/events/v1/conversion.go).
var fieldLabels = map[string]string{
	"reason":                    "reason",
	"regarding.kind":            "involvedObject.kind",
	"regarding.namespace":       "involvedObject.namespace",
	"regarding.name":            "involvedObject.name",
	"regarding.uid":             "involvedObject.uid",
	"regarding.apiVersion":      "involvedObject.apiVersion",
	"regarding.resourceVersion": "involvedObject.resourceVersion",
	"regarding.fieldPath":       "involvedObject.fieldPath",
	"reportingController":       "reportingComponent",
	"type":                      "type",
}

func toCore(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta:          e.ObjectMeta,
		InvolvedObject:      e.Regarding,
		Reason:              e.Reason,
		Message:             e.Note,
		Source:              e.DeprecatedSource,
		FirstTimestamp:      e.DeprecatedFirstTimestamp,
		LastTimestamp:       e.DeprecatedLastTimestamp,
		Count:               e.DeprecatedCount,
		Type:                e.Type,
		EventTime:           e.EventTime,
		Action:              e.Action,
		Related:             e.Related,
		ReportingController: e.ReportingController,
		ReportingInstance:   e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		out.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}

func fromCore(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta:               e.ObjectMeta,
		Regarding:                e.InvolvedObject,
		Reason:                   e.Reason,
		Note:                     e.Message,
		DeprecatedSource:         e.Source,
		DeprecatedFirstTimestamp: e.FirstTimestamp,
		DeprecatedLastTimestamp:  e.LastTimestamp,
		DeprecatedCount:          e.Count,
		Type:                     e.Type,
		EventTime:                e.EventTime,
		Action:                   e.Action,
		Related:                  e.Related,
		ReportingController:      e.ReportingController,
		ReportingInstance:        e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		out.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}
