package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/policy/validation in Kubernetes.

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	return validateSpec(&b.Spec, metavalidation.LabelSelectorValidationOptions{})
}

func validateBudgetUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	return validateSpec(&b.Spec, metavalidation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: old.Spec.Selector != nil &&
			len(metavalidation.ValidateLabelSelector(old.Spec.Selector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0,
	})
}

func validateSpec(s *policyv1.PodDisruptionBudgetSpec, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, rules.Internal(*s), "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, validateAmount(s.MinAvailable, path.Child("minAvailable"))...)
	errs = append(errs, validateAmount(s.MaxUnavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, opts, path.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil && *p != policyv1.AlwaysAllow && *p != policyv1.IfHealthyBudget {
		errs = append(errs, field.NotSupported(path.Child("unhealthyPodEvictionPolicy"), *p, []policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}))
	}
	return errs
}

// validateAmount judges an optional number or share of pods.
func validateAmount(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	switch {
	case v == nil:
		return nil
	case v.Type == intstr.Int:
		return rules.NonNegative(int64(v.IntVal), path)
	}
	msgs := utilvalidation.IsValidPercent(v.StrVal)
	errs := row.Messages(*v, msgs, path)
	if len(msgs) == 0 && len(v.StrVal) > 3 && v.StrVal != "100%" {
		errs = append(errs, field.Invalid(path, *v, "must not be greater than 100%"))
	}
	return errs
}

func validateBudgetStatusUpdate(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	path, s := field.NewPath("status"), &b.Status
	errs := metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))
	errs = append(errs, rules.NonNegative(int64(s.DisruptionsAllowed), path.Child("disruptionsAllowed"))...)
	errs = append(errs, rules.NonNegative(int64(s.CurrentHealthy), path.Child("currentHealthy"))...)
	errs = append(errs, rules.NonNegative(int64(s.DesiredHealthy), path.Child("desiredHealthy"))...)
	return append(errs, rules.NonNegative(int64(s.ExpectedPods), path.Child("expectedPods"))...)
}
