// Package scheduling holds the kinds of the group scheduling.k8s.io: which pods go
// first. See package kinds for the table that this is a part of.
package scheduling

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(priorityClass(), rules.MetaUpdate),
	}
}

func priorityClass() *kinds.Kind {
	type T = *schedulingv1.PriorityClass
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return row.Fill[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](schedulingv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "priorityclasses", ShortNames: []string{"pc"},
		Name: rules.DNSSubdomain,
		Default: rules.Do(func(c T) {
			if c.PreemptionPolicy == nil {
				c.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
			}
		}),
		Generation:     row.Never,
		Validate:       rules.Check(validatePriorityClass),
		ValidateUpdate: rules.Check2(validatePriorityClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.IntColumn("Value", doc["value"]),
			row.Boolean("Global-Default", doc["globalDefault"]),
			rules.AgeColumn(),
			rules.Column("PreemptionPolicy", doc["preemptionPolicy"]),
		},
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, int64(c.Value), c.GlobalDefault, rules.Age(c.CreationTimestamp, now), string(ptr.Deref(c.PreemptionPolicy, ""))}
		}),
	}, oldPriorityClass()...)
}
