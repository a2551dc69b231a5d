package node

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// groupCalls are the engine's calls about groups since it began.
func (r *rig) groupCalls() string {
	var out []string
	for _, c := range r.engine.Calls() {
		if rest, ok := strings.CutPrefix(c, "group "); ok {
			out = append(out, rest)
		}
	}
	return strings.Join(out, "; ")
}

func TestClassGroups(t *testing.T) {
	requests := func(cpu string) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: v1.ResourceList{"cpu": mustQuantity(cpu)}}
	}
	bubble(t, func(r *rig) {
		got := r.groupCalls()
		for _, want := range []string{"kubepods shares=4096 memory=8589934592", "kubepods/besteffort shares=2 ", "kubepods/burstable shares=2 "} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		expect := func(want string) {
			t.Helper()
			r.wait(time.Second)
			after := strings.TrimPrefix(strings.TrimPrefix(r.groupCalls(), got), "; ")
			if after != want {
				t.Errorf("groups set: %q, want %q", after, want)
			}
			got = r.groupCalls()
		}
		r.make("a", one(v1.Container{Name: "a", Resources: requests("500m")}))
		expect("kubepods/burstable shares=512 memory=0 pids=0")
		r.make("b", one(v1.Container{Name: "b", Resources: requests("1")}))
		expect("kubepods/burstable shares=1536 memory=0 pids=0")
		r.make("c", one(v1.Container{Name: "c"})) // best effort: nothing to set
		expect("")
		r.stop()
		r.start() // adopted pods count
		r.wait(time.Second)
		if all := r.groupCalls(); !strings.HasSuffix(all, "kubepods/burstable shares=1536 memory=0 pids=0") {
			t.Errorf("after a restart: %q", all)
		}
		got = r.groupCalls()
		r.delete("b", client.GracePeriodSeconds(1))
		expect("kubepods/burstable shares=512 memory=0 pids=0")
		r.delete("a", client.GracePeriodSeconds(1))
		expect("kubepods/burstable shares=2 memory=0 pids=0")
	})
}
