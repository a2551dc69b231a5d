package core

import (
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func event() *kinds.Kind {
	k := newKind[v1.Event, v1.EventList]("events", true, "ev")
	k.Name = rules.PathSegment
	k.AllowCreateOnUpdate = true
	k.MetaLast = true
	k.Validate = rules.Check(validateEvent)
	k.ValidateUpdate = rules.Check2(func(obj, _ *v1.Event) field.ErrorList { return validateEvent(obj) })
	k.Columns = eventColumns()
	k.Cells = rules.Cells(eventCells)
	k.Fields = map[string]func(kinds.Object) string{
		"involvedObject.kind":            rules.Field(func(e *v1.Event) string { return e.InvolvedObject.Kind }),
		"involvedObject.namespace":       rules.Field(func(e *v1.Event) string { return e.InvolvedObject.Namespace }),
		"involvedObject.name":            rules.Field(func(e *v1.Event) string { return e.InvolvedObject.Name }),
		"involvedObject.uid":             rules.Field(func(e *v1.Event) string { return string(e.InvolvedObject.UID) }),
		"involvedObject.apiVersion":      rules.Field(func(e *v1.Event) string { return e.InvolvedObject.APIVersion }),
		"involvedObject.resourceVersion": rules.Field(func(e *v1.Event) string { return e.InvolvedObject.ResourceVersion }),
		"involvedObject.fieldPath":       rules.Field(func(e *v1.Event) string { return e.InvolvedObject.FieldPath }),
		"reason":                         rules.Field(func(e *v1.Event) string { return e.Reason }),
		"reportingComponent":             rules.Field(func(e *v1.Event) string { return e.ReportingController }),
		"source":                         rules.Field(func(e *v1.Event) string { return rules.Or(e.Source.Component, e.ReportingController) }),
		"type":                           rules.Field(func(e *v1.Event) string { return e.Type }),
	}
	return k
}

func eventColumns() []metav1.TableColumnDefinition {
	doc := v1.Event{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		rules.Column("Last Seen", doc["lastTimestamp"]),
		rules.Column("Type", doc["type"]),
		rules.Column("Reason", doc["reason"]),
		rules.Column("Object", doc["involvedObject"]),
		rules.Wide(rules.Column("Subobject", v1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
		rules.Wide(rules.Column("Source", doc["source"])),
		rules.Column("Message", doc["message"]),
		rules.Wide(rules.Column("First Seen", doc["firstTimestamp"])),
		rules.Wide(rules.Column("Count", doc["count"])),
		rules.Wide(rules.NameColumn()),
	}
}

func eventCells(e *v1.Event, now time.Time) []any {
	first := rules.Age(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = rules.MicroAge(e.EventTime, now)
	}
	last := rules.Age(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	switch {
	case e.Series != nil:
		last, count = rules.MicroAge(e.Series.LastObservedTime, now), e.Series.Count
	case count == 0:
		count = 1
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := rules.Or(e.Source.Component, e.ReportingController)
	if host := rules.Or(e.Source.Host, e.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source,
		strings.TrimSpace(e.Message), first, int64(count), e.Name}
}
