package loop

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Active pods count as replicas: neither finished nor being deleted.
func Active(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }

// Finished pods will never run again.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Terminating pods are being deleted and have not finished.
func Terminating(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp != nil }

// Condition finds a condition of a pod; nil if it has none of that type.
func Condition(p *corev1.Pod, typ corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == typ {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready tells whether a pod may be sent traffic.
func Ready(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// ReadySince is when a ready pod became so.
func ReadySince(p *corev1.Pod) metav1.Time {
	if c := Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime
	}
	return metav1.Time{}
}

// Available pods have been ready for minReady seconds.
func Available(p *corev1.Pod, minReady int32, now time.Time) bool {
	if !Ready(p) {
		return false
	}
	since := ReadySince(p)
	return minReady == 0 || !since.IsZero() && !since.Add(time.Duration(minReady)*time.Second).After(now)
}

// GenerateName is the generateName of pods of a controller: with a dash where the
// name stays valid.
func GenerateName(owner string) string {
	if len(validation.NameIsDNSSubdomain(owner+"-", true)) == 0 {
		return owner + "-"
	}
	return owner
}

// SetCondition puts c in the place of the pod's condition of that type. The time of
// the last transition stays while the status does.
func SetCondition(p *corev1.Pod, c corev1.PodCondition) (changed bool) {
	have := Condition(p, c.Type)
	if have == nil {
		p.Status.Conditions = append(p.Status.Conditions, c)
		return true
	}
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	c.ObservedGeneration = have.ObservedGeneration
	changed = *have != c
	*have = c
	return changed
}
