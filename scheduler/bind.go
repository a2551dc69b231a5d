package scheduler

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// apart runs an effect on its own goroutine; when too many are under way it waits,
// without the lock, for one to end.
func (s *Scheduler) apart(effect func()) {
	select {
	case s.binders <- struct{}{}:
	default:
		s.mu.Unlock()
		s.binders <- struct{}{}
		s.mu.Lock()
	}
	s.work.Go(func() {
		defer func() { <-s.binders }()
		effect()
	})
}

func (s *Scheduler) bind(w *waiting, pod *v1.Pod, name string) {
	err := s.Client.SubResource("binding").Create(s.ctx, pod, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: name},
	})
	if err == nil {
		s.Recorder.Actionf(pod, v1.EventTypeNormal, "Scheduled", "Binding", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, name)
		return
	}
	s.retreat(w, pod, fmt.Errorf("binding rejected: %w", err))
}

// retreat takes a pod that could not be bound from its node and queues it again.
func (s *Scheduler) retreat(w *waiting, pod *v1.Pod, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.snapshot.pods[pod.UID]; !ok || !p.assumed {
		return // bound or gone after all, as the events say
	}
	s.offer(s.snapshot.remove(pod.UID))
	w.binding = false
	if apierrors.IsNotFound(err) || s.ctx.Err() != nil || s.queue.pods[pod.UID] != w {
		s.queue.remove(pod.UID)
		return
	}
	w.next = time.Now().Add(max(backoffOf(w.attempts), leastBackoff))
	s.queue.again(w, time.Now())
	s.wake()
	s.work.Go(func() { s.report(pod, v1.PodReasonSchedulerError, err.Error()) })
}

// report says in events and in the pod's conditions why it has no node.
func (s *Scheduler) report(pod *v1.Pod, reason, why string) {
	note := why
	if len(note) > noteLimit {
		const dots = " ..."
		note = note[:noteLimit-len(dots)] + dots
	}
	s.Recorder.Actionf(pod, v1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", note)
	data, changed, err := conditionPatch(pod, reason, why, metav1.Now())
	if err == nil && changed {
		err = s.Client.Status().Patch(s.ctx, pod.DeepCopy(), crclient.RawPatch(types.StrategicMergePatchType, data))
	}
	if crclient.IgnoreNotFound(err) != nil && s.ctx.Err() == nil {
		s.Log.Warn("condition of a pending pod not written", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

// conditionPatch is the change of the condition PodScheduled; changed is false if
// the pod says the same already.
func conditionPatch(pod *v1.Pod, reason, why string, now metav1.Time) (data []byte, changed bool, err error) {
	next := v1.PodCondition{
		Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: reason, Message: why,
		ObservedGeneration: pod.Generation, LastTransitionTime: now,
	}
	for _, have := range pod.Status.Conditions {
		if have.Type != v1.PodScheduled {
			continue
		}
		if have.Status == next.Status {
			next.LastTransitionTime = have.LastTransitionTime
		}
		if have.Status == next.Status && have.Reason == next.Reason && have.Message == next.Message {
			return nil, false, nil
		}
	}
	data, err = json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []v1.PodCondition{next}},
	})
	return data, true, err
}
