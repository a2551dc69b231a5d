package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

func oldBudget() []kinds.Version { return nil }

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList                  { return nil }
func validateBudgetUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList       { return nil }
func validateBudgetStatusUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList { return nil }
