// Package clusterroleaggregation joins the rules of ClusterRoles that an
// aggregation rule selects, as admin, edit and view are made.
//
// Reads: ClusterRoles.
// Writes: the rules of ClusterRoles that have an aggregation rule.
package clusterroleaggregation

import (
	"cmp"
	"context"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

// key stands for all aggregated roles: every change of a role concerns any of them.
type key struct{}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "clusterroleaggregation", 1, reconcile.TypedFunc[key](func(ctx context.Context, _ key) (reconcile.Result, error) {
		return reconcile.Result{}, aggregate(ctx, env)
	}))
	loop.On(l, &rbacv1.ClusterRole{}, func(_, _ *rbacv1.ClusterRole) { l.Add(key{}) })
	return l.Start()
}

func aggregate(ctx context.Context, env *loop.Env) error {
	var list rbacv1.ClusterRoleList
	if err := env.Cache.List(ctx, &list, crclient.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range list.Items {
		role := &list.Items[i]
		if role.AggregationRule == nil || role.DeletionTimestamp != nil {
			continue
		}
		rules, err := union(role, list.Items)
		if err != nil {
			return err
		}
		if apiequality.Semantic.DeepEqual(rules, role.Rules) {
			continue
		}
		next := role.DeepCopy()
		next.Rules = rules
		if err := env.Client.Update(ctx, next, crclient.FieldOwner("clusterrole-aggregation-controller")); crclient.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// union joins the rules of all roles that role selects, each rule once, in the
// order of the selectors and of the roles' names.
func union(role *rbacv1.ClusterRole, all []rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	sorted := make([]*rbacv1.ClusterRole, len(all))
	for i := range all {
		sorted[i] = &all[i]
	}
	slices.SortFunc(sorted, func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	var out []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, r := range sorted {
			if r.Name == role.Name || !sel.Matches(labels.Set(r.Labels)) {
				continue
			}
			for _, rule := range r.Rules {
				if !slices.ContainsFunc(out, func(have rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(have, rule) }) {
					out = append(out, rule)
				}
			}
		}
	}
	return out, nil
}
