package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validateReplicationController(rc *v1.ReplicationController) field.ErrorList {
	return validateRC(rc, nil)
}

func validateReplicationControllerUpdate(rc, old *v1.ReplicationController) field.ErrorList {
	return validateRC(rc, old.Spec.Template)
}

func validateRC(rc *v1.ReplicationController, old *v1.PodTemplateSpec) field.ErrorList {
	var l rules.List
	s, path := &rc.Spec, field.NewPath("spec")
	l.Add(rules.NonNegative(int64(s.MinReadySeconds), path.Child("minReadySeconds"))...)
	if len(s.Selector) == 0 {
		l.Required(path.Child("selector"), "")
	}
	if s.Replicas == nil {
		l.Required(path.Child("replicas"), "")
	} else {
		l.Add(rules.NonNegative(int64(*s.Replicas), path.Child("replicas"))...)
	}
	at := path.Child("template")
	if s.Template == nil {
		l.Required(at, "")
		return l.Errors()
	}
	if len(s.Selector) > 0 && !labels.SelectorFromSet(s.Selector).Matches(labels.Set(s.Template.Labels)) {
		l.Invalid(at.Child("metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	l.Add(ValidatePodTemplateUpdate(s.Template, old, at)...)
	rules.Supported(&l, at.Child("spec", "restartPolicy"), s.Template.Spec.RestartPolicy, v1.RestartPolicyAlways)
	if s.Template.Spec.ActiveDeadlineSeconds != nil {
		l.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
	return l.Errors()
}

func validateReplicationControllerStatus(rc, _ *v1.ReplicationController) field.ErrorList {
	var l rules.List
	s, path := &rc.Status, field.NewPath("status")
	l.Add(rules.NonNegative(int64(s.Replicas), path.Child("replicas"))...)
	l.Add(rules.NonNegative(int64(s.FullyLabeledReplicas), path.Child("fullyLabeledReplicas"))...)
	l.Add(rules.NonNegative(int64(s.ReadyReplicas), path.Child("readyReplicas"))...)
	l.Add(rules.NonNegative(int64(s.AvailableReplicas), path.Child("availableReplicas"))...)
	l.Add(rules.NonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	const tooMany = "cannot be greater than status.replicas"
	if s.FullyLabeledReplicas > s.Replicas {
		l.Invalid(path.Child("fullyLabeledReplicas"), s.FullyLabeledReplicas, tooMany)
	}
	if s.ReadyReplicas > s.Replicas {
		l.Invalid(path.Child("readyReplicas"), s.ReadyReplicas, tooMany)
	}
	if s.AvailableReplicas > s.Replicas {
		l.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, tooMany)
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return l.Errors()
}
