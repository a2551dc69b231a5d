package networking

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPolicyGeneration: networkPolicyStrategy compares with reflect.DeepEqual what was
// sent with what was stored, which has no empty lists.
func TestPolicyGeneration(t *testing.T) {
	spec := func(in []networkingv1.NetworkPolicyIngressRule, labels map[string]string) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: labels}, Ingress: in, PolicyTypes: []networkingv1.PolicyType{"Ingress"}}}
	}
	empty, one := []networkingv1.NetworkPolicyIngressRule{}, []networkingv1.NetworkPolicyIngressRule{{}}
	for i, c := range []struct {
		obj, old *networkingv1.NetworkPolicy
		want     bool
	}{
		{spec(nil, nil), spec(nil, nil), false},
		{spec(one, nil), spec(one, nil), false},
		{spec(one, nil), spec(nil, nil), true},
		{spec(nil, nil), spec(empty, nil), false},
		{spec(empty, nil), spec(empty, nil), true},
		{spec(nil, map[string]string{}), spec(nil, nil), true},
	} {
		if got := policyChanged(c.obj, c.old); got != c.want {
			t.Errorf("case %d: %t", i, got)
		}
	}
}
