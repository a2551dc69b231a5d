package clusterroleaggregation

import (
	"testing"
	"testing/synctest"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func role(name string, labels map[string]string, verbs ...string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	for _, v := range verbs {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{v}, Resources: []string{"pods"}})
	}
	return r
}

func TestAggregation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		mark := map[string]string{"to": "all"}
		sum := role("sum", nil, "stale")
		sum.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: mark}}}
		w.Create(sum, role("b", mark, "list", "get"), role("a", mark, "get"), role("other", nil, "delete"))
		w.Settle()
		w.Get(sum)
		if len(sum.Rules) != 2 || sum.Rules[0].Verbs[0] != "get" || sum.Rules[1].Verbs[0] != "list" {
			t.Fatalf("%+v", sum.Rules)
		}
		w.Delete(role("b", nil))
		w.Settle()
		w.Get(sum)
		if len(sum.Rules) != 1 {
			t.Fatalf("%+v", sum.Rules)
		}
	})
}
