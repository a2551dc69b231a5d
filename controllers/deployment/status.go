package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions, as kubectl rollout status and its users read them.
const (
	reasonUpdated     = "ReplicaSetUpdated"
	reasonCreateError = "ReplicaSetCreateError"
	reasonCreated     = "NewReplicaSetCreated"
	reasonFound       = "FoundNewReplicaSet"
	reasonDone        = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonPaused      = "DeploymentPaused"
	reasonResumed     = "DeploymentResumed"
	reasonAvailable   = "MinimumReplicasAvailable"
	reasonUnavailable = "MinimumReplicasUnavailable"
)

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func condition(s *appsv1.DeploymentStatus, typ appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == typ {
			return &s.Conditions[i]
		}
	}
	return nil
}

func newCondition(typ appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	t := metav1.NewTime(now)
	return appsv1.DeploymentCondition{
		Type: typ, Status: status, Reason: reason, Message: message, LastUpdateTime: t, LastTransitionTime: t,
	}
}

// setCondition leaves a condition of the same status and reason as it is.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if have := condition(s, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
	}
	removeCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func removeCondition(s *appsv1.DeploymentStatus, typ appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == typ })
	if len(s.Conditions) == 0 {
		s.Conditions = nil
	}
}

// counts is the status without an estimate of progress.
func counts(s *state, now time.Time) appsv1.DeploymentStatus {
	out := appsv1.DeploymentStatus{
		ObservedGeneration: s.d.Generation,
		CollisionCount:     s.d.Status.CollisionCount,
		Conditions:         slices.Clone(s.d.Status.Conditions),
	}
	gone := new(int32)
	for _, rs := range s.all() {
		out.Replicas += rs.Status.Replicas
		out.ReadyReplicas += rs.Status.ReadyReplicas
		out.AvailableReplicas += rs.Status.AvailableReplicas
		switch {
		case rs.Status.TerminatingReplicas != nil:
			if gone != nil {
				*gone += *rs.Status.TerminatingReplicas
			}
		case rs.Status.ObservedGeneration != 0:
			gone = nil
		}
	}
	out.TerminatingReplicas = gone
	if s.cur != nil {
		out.UpdatedReplicas = s.cur.Status.Replicas
	}
	out.UnavailableReplicas = max(0, wanted(s.all())-out.AvailableReplicas)
	if out.AvailableReplicas >= *s.d.Spec.Replicas-maxUnavailable(s.d) {
		setCondition(&out, newCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonAvailable, "Deployment has minimum availability.", now))
	} else {
		setCondition(&out, newCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonUnavailable, "Deployment does not have minimum availability.", now))
	}
	return out
}

// complete: every replica is of the present template and available, and no other
// is left.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	n := *d.Spec.Replicas
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

// progressed compares the status before with the new one.
func progressed(was, is *appsv1.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas ||
		is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas ||
		is.AvailableReplicas > was.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || c.Reason == reasonDone {
		return false
	}
	return c.Reason == reasonTimedOut ||
		c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds)*time.Second).Before(now)
}

// rollout is the status amid or after a rollout, with the estimate of progress.
func rollout(s *state, now time.Time) appsv1.DeploymentStatus {
	d := s.d
	out := counts(s, now)
	if !hasDeadline(d) {
		removeCondition(&out, appsv1.DeploymentProgressing)
	}
	have := condition(&d.Status, appsv1.DeploymentProgressing)
	finished := out.Replicas == out.UpdatedReplicas && have != nil && have.Reason == reasonDone
	who := fmt.Sprintf("Deployment %q", d.Name)
	if s.cur != nil {
		who = fmt.Sprintf("ReplicaSet %q", s.cur.Name)
	}
	if hasDeadline(d) && !finished {
		switch {
		case complete(d, &out):
			setCondition(&out, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonDone, who+" has successfully progressed.", now))
		case progressed(&d.Status, &out):
			c := newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, who+" is progressing.", now)
			if have != nil {
				if have.Status == corev1.ConditionTrue {
					c.LastTransitionTime = have.LastTransitionTime
				}
				// Every sign of progress renews lastUpdateTime, from which the deadline counts.
				removeCondition(&out, appsv1.DeploymentProgressing)
			}
			setCondition(&out, c)
		case timedOut(d, &out, now):
			setCondition(&out, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, who+" has timed out progressing.", now))
		}
	}
	if f := failure(s); f != nil {
		setCondition(&out, *f)
	} else {
		removeCondition(&out, appsv1.DeploymentReplicaFailure)
	}
	return out
}

// failure is the first failure of a ReplicaSet to make pods, the present one's
// rather than others'.
func failure(s *state) *appsv1.DeploymentCondition {
	sets := s.all()
	if s.cur != nil {
		sets = append([]*appsv1.ReplicaSet{s.cur}, s.old...)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

// recheck is when a rollout without a sign of progress has to be looked at again;
// 0: never.
func recheck(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := condition(&d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || complete(d, s) || c.Reason == reasonTimedOut {
		return 0
	}
	left := c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second).Sub(now)
	return max(left, 0) + time.Second
}

// pauseCondition follows spec.paused; ok is false when nothing changes.
func pauseCondition(d *appsv1.Deployment, now time.Time) (c appsv1.DeploymentCondition, ok bool) {
	have := condition(&d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || have != nil && have.Reason == reasonTimedOut {
		return c, false
	}
	was := have != nil && have.Reason == reasonPaused
	switch {
	case d.Spec.Paused && !was:
		return newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now), true
	case !d.Spec.Paused && was:
		return newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now), true
	}
	return c, false
}
