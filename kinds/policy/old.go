package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/row"
)

// An empty selector is no pod in policy/v1beta1 and every pod in policy/v1. A label
// that no pod has tells them apart (pkg/apis/policy/v1beta1/conversion.go in
// Kubernetes).
const emptyLabel = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

func selector(op metav1.LabelSelectorOperator) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: emptyLabel, Operator: op}}}
}

func oldBudget() []kinds.Version {
	c := convert.New(
		convert.After(func(in *policyv1beta1.PodDisruptionBudget, out *policyv1.PodDisruptionBudget) error {
			out.Spec.Selector = toNew(in.Spec.Selector)
			return nil
		}),
		convert.After(func(in *policyv1.PodDisruptionBudget, out *policyv1beta1.PodDisruptionBudget) error {
			out.Spec.Selector = toOld(in.Spec.Selector)
			return nil
		}),
	)
	return []kinds.Version{convert.Old[policyv1.PodDisruptionBudget, policyv1beta1.PodDisruptionBudget, policyv1beta1.PodDisruptionBudgetList](
		c, policyv1beta1.SchemeGroupVersion, "PodDisruptionBudget", nil)}
}

func toNew(s *metav1.LabelSelector) *metav1.LabelSelector {
	switch {
	case s == nil:
		return nil
	case row.Same(s, &metav1.LabelSelector{}):
		return selector(metav1.LabelSelectorOpExists)
	case row.Same(s, selector(metav1.LabelSelectorOpDoesNotExist)):
		return &metav1.LabelSelector{}
	}
	out := s.DeepCopy()
	out.MatchExpressions = nil
	for _, e := range s.MatchExpressions {
		if e.Key != emptyLabel {
			out.MatchExpressions = append(out.MatchExpressions, e)
		}
	}
	return out
}

func toOld(s *metav1.LabelSelector) *metav1.LabelSelector {
	switch {
	case s == nil:
		return nil
	case row.Same(s, selector(metav1.LabelSelectorOpExists)):
		return &metav1.LabelSelector{}
	case row.Same(s, &metav1.LabelSelector{}):
		return selector(metav1.LabelSelectorOpDoesNotExist)
	}
	return s
}
