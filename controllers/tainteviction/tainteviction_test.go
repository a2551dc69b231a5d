package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDue(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	added := metav1.NewTime(at)
	taint := func(key string) corev1.Taint {
		return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	}
	tolerate := func(key string, seconds ...int64) corev1.Toleration {
		x := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		if len(seconds) > 0 {
			x.TolerationSeconds = &seconds[0]
		}
		return x
	}
	for i, c := range []struct {
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		ok          bool
		want        time.Time
	}{
		{nil, nil, false, time.Time{}},
		{[]corev1.Taint{taint("a")}, nil, true, time.Time{}},
		{[]corev1.Taint{taint("a")}, []corev1.Toleration{tolerate("a")}, false, time.Time{}},
		{[]corev1.Taint{taint("a")}, []corev1.Toleration{tolerate("a", 300)}, true, at.Add(5 * time.Minute)},
		{[]corev1.Taint{taint("a"), taint("b")}, []corev1.Toleration{tolerate("a", 300), tolerate("b", 60)}, true, at.Add(time.Minute)},
		{[]corev1.Taint{taint("a"), taint("b")}, []corev1.Toleration{tolerate("a", 300)}, true, time.Time{}},
		{[]corev1.Taint{taint("a")}, []corev1.Toleration{tolerate("a", -5)}, true, at},
	} {
		got, ok := due(c.taints, c.tolerations)
		if ok != c.ok || !got.Equal(c.want) {
			t.Errorf("case %d: %v %v", i, got, ok)
		}
	}
}
