package policy

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func podDisruptionBudget() *kinds.Kind {
	type T = *policyv1.PodDisruptionBudget
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "PodDisruptionBudget", List: "PodDisruptionBudgetList",
		Resource: "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"},
		Namespaced:      true,
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldBudget()...),
		New:             row.Make[policyv1.PodDisruptionBudget](),
		NewList:         row.MakeAny[policyv1.PodDisruptionBudgetList](),
		Name:            row.DNSSubdomain,
		PrepareCreate:   row.Fill(func(b T) { b.Status = policyv1.PodDisruptionBudgetStatus{} }),
		PrepareUpdate:   row.Carry(func(b, old T) { b.Status = old.Status }),
		Generation:      row.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		Validate:        row.Judge(validateBudget),
		ValidateUpdate:  row.JudgeUpdate(validateBudgetUpdate),
		Subresources:    row.WithStatus(func(b, old T) { b.Spec = old.Spec }, validateBudgetStatusUpdate, "spec"),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("Min Available", "The minimum number of pods that must be available."),
			row.Column("Max Unavailable", "The maximum number of pods that may be unavailable."),
			row.Integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
			row.AgeColumn(),
		},
		Cells: row.Print(func(b T, now time.Time) []any {
			return []any{b.Name, orNA(b.Spec.MinAvailable), orNA(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), row.Age(b, now)}
		}),
	}
}

func orNA(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}
