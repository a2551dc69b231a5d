package nodelifecycle

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTaints(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name          string
		unschedulable bool
		conditions    map[corev1.NodeConditionType]corev1.ConditionStatus
		have          []corev1.Taint
		evict         bool
		want          string
	}{
		{"ready", false, map[corev1.NodeConditionType]corev1.ConditionStatus{"Ready": "True"}, nil, true, "[]"},
		{"not ready", false, map[corev1.NodeConditionType]corev1.ConditionStatus{"Ready": "False"}, nil, true,
			"[node.kubernetes.io/not-ready:NoExecute node.kubernetes.io/not-ready:NoSchedule]"},
		{"not ready, like all", false, map[corev1.NodeConditionType]corev1.ConditionStatus{"Ready": "False"}, nil, false,
			"[node.kubernetes.io/not-ready:NoSchedule]"},
		{"never heard of", false, nil, nil, true,
			"[node.kubernetes.io/unreachable:NoExecute node.kubernetes.io/unreachable:NoSchedule]"},
		{"back, with a taint of somebody else", false, map[corev1.NodeConditionType]corev1.ConditionStatus{"Ready": "True"},
			[]corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}, {Key: "mine", Effect: corev1.TaintEffectNoSchedule}}, true, "[mine:NoSchedule]"},
		{"under pressure and cordoned", true, map[corev1.NodeConditionType]corev1.ConditionStatus{"Ready": "True", "DiskPressure": "True", "MemoryPressure": "False"}, nil, true,
			"[node.kubernetes.io/disk-pressure:NoSchedule node.kubernetes.io/unschedulable:NoSchedule]"},
	} {
		n := &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: c.unschedulable, Taints: c.have}}
		for typ, s := range c.conditions {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: typ, Status: s})
		}
		got := []string{}
		for _, x := range taints(n, c.evict, now) {
			got = append(got, fmt.Sprintf("%s:%s", x.Key, x.Effect))
			if x.Effect == corev1.TaintEffectNoExecute && (x.TimeAdded == nil || !x.TimeAdded.Time.Equal(now)) {
				t.Errorf("%s: no time on %s", c.name, x.Key)
			}
		}
		slices.Sort(got)
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSilent(t *testing.T) {
	now := metav1.Now()
	n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"},
		{Type: "Custom", Status: corev1.ConditionTrue},
	}}}
	got := silent(n, now)
	if len(got) != 5 || got[0].Reason != "NodeStatusUnknown" || got[1].Status != corev1.ConditionTrue || got[2].Reason != "NodeStatusNeverUpdated" || n.Status.Conditions[0].Reason != "KubeletReady" {
		t.Fatalf("%+v", got)
	}
	n.Status.Conditions = got
	if silent(n, now) != nil {
		t.Fatal("a node that is known to be silent changes again")
	}
}
