// Package events serves core's Event as events.k8s.io's: both are one kind in one
// place, whose hub is core/v1. See package kinds for the table that this is a part
// of; kinds/all adds these forms to core's row.
package events

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

// Version is events.k8s.io/v1.
func Version() kinds.Version {
	return kinds.Version{
		Group: eventsv1.GroupName, Version: "v1",
		New:     row.MakeAny[eventsv1.Event](),
		NewList: row.MakeAny[eventsv1.EventList](),
		ToHub: func(in runtime.Object) (kinds.Object, error) {
			e, ok := in.(*eventsv1.Event)
			if !ok {
				return nil, fmt.Errorf("convert event: %T is not events.k8s.io/v1", in)
			}
			return toCore(e), nil
		},
		FromHub: func(in kinds.Object) (runtime.Object, error) {
			e, ok := in.(*corev1.Event)
			if !ok {
				return nil, fmt.Errorf("convert event: %T is not core/v1", in)
			}
			return fromCore(e), nil
		},
	}
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
