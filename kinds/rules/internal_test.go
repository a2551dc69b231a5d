package rules

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestInternal(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, `null`},
		{(*int)(nil), `null`},
		{appsv1.DeploymentStrategy{Type: "BlueGreen"}, `{"Type":"BlueGreen","RollingUpdate":null}`},
		{policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(1)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		}, `{"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":null,"UnhealthyPodEvictionPolicy":null}`},
		{[]struct{ A int }{{1}, {2}}, `[{"A":1},{"A":2}]`},
		{struct {
			metav1.LabelSelector
			B []byte
		}{B: []byte("x")}, `{"MatchLabels":null,"MatchExpressions":null,"B":"eA=="}`},
	} {
		raw, err := json.Marshal(Internal(c.v))
		if err != nil || string(raw) != c.want {
			t.Errorf("%T shows as %s, %v; want %s", c.v, raw, err, c.want)
		}
	}
}

// A field that a later version of the types adds must not go missing.
func TestInternalPodSpecHasEveryField(t *testing.T) {
	names := func(typ reflect.Type) []string {
		var out []string
		for i := range typ.NumField() {
			out = append(out, typ.Field(i).Name)
		}
		slices.Sort(out)
		return out
	}
	spec := slices.Concat(podSpecBefore, podSpecShared, podSpecAfter, []string{"DeprecatedServiceAccount", "SecurityContext"})
	slices.Sort(spec)
	if want := names(podSpecType); !slices.Equal(spec, want) {
		t.Errorf("got %v\nwant %v", spec, want)
	}
	security := slices.Sorted(slices.Values(podSecurity))
	if want := names(reflect.TypeFor[corev1.PodSecurityContext]()); !slices.Equal(security, want) {
		t.Errorf("got %v\nwant %v", security, want)
	}
	raw, err := json.Marshal(Internal(corev1.PodSpec{HostPID: true, SecurityContext: &corev1.PodSecurityContext{}}))
	if err != nil || !strings.Contains(string(raw), `"NodeName":"","SecurityContext":{"HostNetwork":false,"HostPID":true,`) {
		t.Errorf("%s, %v", raw, err)
	}
}
