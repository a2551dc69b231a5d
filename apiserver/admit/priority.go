package admit

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

// Priority computes a pod's priority from its class, and keeps one class the
// default.
type Priority struct{ reader }

// Name implements admission.Plugin.
func (*Priority) Name() string { return "Priority" }

// Admit implements admission.Mutator.
func (p *Priority) Admit(_ context.Context, r *admission.Request) error {
	pod, ok := r.Object.(*v1.Pod)
	if !ok || !is(r, "", "pods", admission.Create, admission.Update) {
		return nil
	}
	if old, ok := r.Old.(*v1.Pod); ok && r.Operation == admission.Update {
		if pod.Spec.Priority == nil {
			pod.Spec.Priority = old.Spec.Priority
		}
		if pod.Spec.PreemptionPolicy == nil {
			pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
		}
		return nil
	}
	lower := v1.PreemptLowerPriority
	value, policy := int32(0), &lower
	if name := pod.Spec.PriorityClassName; name != "" {
		class, ok := find[*schedulingv1.PriorityClass](p, priorityClasses, "", name)
		if !ok {
			return forbid(r, fmt.Errorf("no PriorityClass with name %v was found", name))
		}
		value, policy = class.Value, class.PreemptionPolicy
	} else if class := p.byDefault(); class != nil {
		pod.Spec.PriorityClassName, value, policy = class.Name, class.Value, class.PreemptionPolicy
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return forbid(r, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	pod.Spec.Priority = &value
	if policy != nil {
		if have := pod.Spec.PreemptionPolicy; have != nil && *have != *policy {
			return forbid(r, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *have, *policy))
		}
		chosen := *policy
		pod.Spec.PreemptionPolicy = &chosen
	}
	return nil
}

// byDefault is the class of pods that name none: should two claim it, the lower.
func (p *Priority) byDefault() *schedulingv1.PriorityClass {
	var found *schedulingv1.PriorityClass
	p.Each(priorityClasses, "", func(o kinds.Object) bool {
		if c, ok := o.(*schedulingv1.PriorityClass); ok && c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
		return true
	})
	return found
}

// Validate implements admission.Validator.
func (p *Priority) Validate(_ context.Context, r *admission.Request) error {
	c, ok := r.Object.(*schedulingv1.PriorityClass)
	if !ok || !c.GlobalDefault || !is(r, schedulingv1.GroupName, "priorityclasses", admission.Create, admission.Update) {
		return nil
	}
	if d := p.byDefault(); d != nil && (r.Operation == admission.Create || d.Name != c.Name) {
		return forbid(r, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", d.Name))
	}
	return nil
}
