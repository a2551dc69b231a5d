package rbac

import (
	"sort"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Aggregate returns the rules that role's aggregation rule gathers from the other
// roles, in the order of selectors and names and without doubles, as the
// clusterrole-aggregation controller of Kubernetes does. ok is false when the role
// has no aggregation rule, or one that cannot be read.
func Aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) (rules []rbacv1.PolicyRule, ok bool) {
	if role.AggregationRule == nil {
		return nil, false
	}
	rules = []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, false
		}
		var picked []*rbacv1.ClusterRole
		for _, r := range all {
			if r.Name != role.Name && sel.Matches(labels.Set(r.Labels)) {
				picked = append(picked, r)
			}
		}
		sort.Slice(picked, func(i, j int) bool { return picked[i].Name < picked[j].Name })
		for _, r := range picked {
			for j := range r.Rules {
				if !hasRule(rules, &r.Rules[j]) {
					rules = append(rules, r.Rules[j])
				}
			}
		}
	}
	return rules, true
}

func hasRule(rules []rbacv1.PolicyRule, r *rbacv1.PolicyRule) bool {
	for i := range rules {
		if equality.Semantic.DeepEqual(&rules[i], r) {
			return true
		}
	}
	return false
}
