package policy

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func podDisruptionBudget() *kinds.Kind {
	type T = *policyv1.PodDisruptionBudget
	return row.Fill[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](policyv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "poddisruptionbudgets", ShortNames: []string{"pdb"},
		Namespaced:      true,
		RequireRevision: true,
		PrepareCreate:   rules.Do(func(b T) { b.Status = policyv1.PodDisruptionBudgetStatus{} }),
		PrepareUpdate:   rules.Do2(func(b, old T) { b.Status = old.Status }),
		Generation:      rules.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		MetaLast:        true,
		Name:            rules.PathSegment,
		Validate:        rules.Check(validateBudget),
		ValidateUpdate:  rules.Check2(validateBudgetUpdate),
		Subresources:    row.WithStatus(func(b, old T) { b.Spec = old.Spec }, validateBudgetStatusUpdate, "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Min Available", "The minimum number of pods that must be available."),
			rules.Column("Max Unavailable", "The maximum number of pods that may be unavailable."),
			rules.IntColumn("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(b T, now time.Time) []any {
			return []any{b.Name, orNA(b.Spec.MinAvailable), orNA(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), rules.Age(b.CreationTimestamp, now)}
		}),
	}, oldBudget()...)
}

func orNA(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}
