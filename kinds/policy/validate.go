package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList                  { return nil }
func validateBudgetUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList       { return nil }
func validateBudgetStatusUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList { return nil }
