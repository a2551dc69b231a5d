package core

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestRatiosBeyondInt64 are compared as Kubernetes does: by Value (ValidateLimitRange).
func TestRatiosBeyondInt64(t *testing.T) {
	at := func(ratio, low, high string) string {
		l := &v1.LimitRange{Spec: v1.LimitRangeSpec{Limits: []v1.LimitRangeItem{{Type: v1.LimitTypeContainer,
			Max:                  v1.ResourceList{v1.ResourceMemory: resource.MustParse(high)},
			Min:                  v1.ResourceList{v1.ResourceMemory: resource.MustParse(low)},
			MaxLimitRequestRatio: v1.ResourceList{v1.ResourceMemory: resource.MustParse(ratio)}}}}}
		var out []string
		for _, e := range validateLimitRange(l) {
			out = append(out, e.Detail)
		}
		return strings.Join(out, "; ")
	}
	for _, c := range []struct{ ratio, low, high, want string }{
		{"2", "1", "2", ""},
		{"2500m", "1", "2", "ratio 2500m is greater than max/min = 2.000000"},
		{"1e30", "1", "1e30", ""},
		{"1e30", "1", "2", ""}, // Value of what an int64 cannot hold is 0
		{"9223372036854775807", "1", "2", "ratio 9223372036854775807 is greater than max/min = 2.000000"},
	} {
		if got := at(c.ratio, c.low, c.high); got != c.want {
			t.Errorf("%s of %s to %s: %q", c.ratio, c.low, c.high, got)
		}
	}
}

// TestEmptyAllocatable: what is empty is stored as missing, and defaulted when read
// (SetDefaults_NodeStatus).
func TestEmptyAllocatable(t *testing.T) {
	capacity := v1.ResourceList{v1.ResourceCPU: resource.MustParse("2")}
	for _, s := range []v1.NodeStatus{{Capacity: capacity}, {Capacity: capacity, Allocatable: v1.ResourceList{}}} {
		n := &v1.Node{Status: s}
		defaultNode(n)
		if q := n.Status.Allocatable[v1.ResourceCPU]; q.Value() != 2 {
			t.Errorf("%v", n.Status.Allocatable)
		}
	}
}
