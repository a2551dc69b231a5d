package rules_test

import (
	"reflect"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"skiff.dev/skiff/kinds/rules"
)

// TestSettle: what protobuf does not tell apart is made the same before it is stored.
func TestSettle(t *testing.T) {
	role := &rbacv1.Role{Rules: []rbacv1.PolicyRule{}}
	rules.Settle(reflect.TypeFor[rbacv1.Role]())(role)
	if role.Rules != nil {
		t.Error("a list that is empty and written stays")
	}
	role.Rules = []rbacv1.PolicyRule{{Verbs: []string{}, APIGroups: []string{}}}
	rules.Settle(reflect.TypeFor[rbacv1.Role]())(role)
	if r := role.Rules[0]; r.Verbs != nil || r.APIGroups == nil {
		t.Errorf("want no verbs, and groups, which are left out when empty, as they were: %#v", r)
	}
	job := &batchv1.Job{Spec: batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{}}}}
	rules.Settle(reflect.TypeFor[batchv1.Job]())(job)
	if job.Spec.PodFailurePolicy.Rules != nil {
		t.Error("a list behind a pointer stays")
	}
	if rules.Settle(reflect.TypeFor[corev1.ConfigMap]()) != nil {
		t.Error("there is something to do in a ConfigMap, whose maps are left out when empty")
	}
}
