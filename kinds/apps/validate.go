package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/apps/validation in Kubernetes, to
// the message.

func nonNegative[N int32 | int64](n N, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(n), path)
}

// nonNegativePtr judges an optional number.
func nonNegativePtr[N int32 | int64](n *N, path *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	return nonNegative(*n, path)
}

// requireSelector judges a selector that must select something; of names the kind
// as the message does.
func requireSelector(s *metav1.LabelSelector, of string, path *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+of))
	}
	return errs
}

// matchTemplate tells whether the selector would find the template's pods.
func matchTemplate(selector labels.Selector, t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if selector.Empty() || selector.Matches(labels.Set(t.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")}
}

// alwaysRunning refuses pods that would end by themselves.
func alwaysRunning(t *corev1.PodTemplateSpec, kind string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []string{string(corev1.RestartPolicyAlways)}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

// replicaTemplate judges what ReplicaSets and Deployments say of their pods.
func replicaTemplate(s *metav1.LabelSelector, t, old *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("selector"), s, "invalid label selector")}
	}
	errs := matchTemplate(selector, t, path.Child("template"))
	errs = append(errs, validateTemplate(t, old, path.Child("template"))...)
	return append(errs, alwaysRunning(t, "ReplicaSet", path.Child("template"))...)
}

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList { return validateReplicas(r, nil) }

func validateReplicas(r *appsv1.ReplicaSet, old *corev1.PodTemplateSpec) field.ErrorList {
	path := field.NewPath("spec")
	errs := nonNegativePtr(r.Spec.Replicas, path.Child("replicas"))
	errs = append(errs, nonNegative(r.Spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, requireSelector(r.Spec.Selector, "deployment", path.Child("selector"))...)
	return append(errs, replicaTemplate(r.Spec.Selector, &r.Spec.Template, old, path)...)
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	return append(validateReplicas(r, &old.Spec.Template), apivalidation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSetStatusUpdate(r, _ *appsv1.ReplicaSet) field.ErrorList {
	path, s := field.NewPath("status"), &r.Status
	errs := nonNegative(s.Replicas, path.Child("replicas"))
	errs = append(errs, nonNegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, nonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, nonNegativePtr(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, "status.replicas", path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	return append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas"))...)
}

func atMost(n, max int32, of string, path *field.Path) field.ErrorList {
	if n <= max {
		return nil
	}
	return field.ErrorList{field.Invalid(path, n, "cannot be greater than "+of)}
}

// notDecremented judges the count of hash collisions, which only grows.
func notDecremented(n, old *int32, path *field.Path) field.ErrorList {
	if old == nil || n != nil && *n >= *old {
		return nil
	}
	return field.ErrorList{field.Invalid(path, int32(deref(n)), "cannot be decremented")}
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList { return validateRollout(d, nil) }

func validateRollout(d *appsv1.Deployment, old *corev1.PodTemplateSpec) field.ErrorList {
	path, spec := field.NewPath("spec"), &d.Spec
	errs := nonNegativePtr(spec.Replicas, path.Child("replicas"))
	errs = append(errs, requireSelector(spec.Selector, "deployment", path.Child("selector"))...)
	errs = append(errs, replicaTemplate(spec.Selector, &spec.Template, old, path)...)
	errs = append(errs, validateStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, nonNegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	errs = append(errs, nonNegativePtr(spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	if p := spec.ProgressDeadlineSeconds; p != nil {
		errs = append(errs, nonNegative(*p, path.Child("progressDeadlineSeconds"))...)
		if *p <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), p, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return append(validateRollout(d, &old.Spec.Template), apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDeploymentStatusUpdate(d, old *appsv1.Deployment) field.ErrorList {
	path, s := field.NewPath("status"), &d.Status
	errs := nonNegative(s.ObservedGeneration, path.Child("observedGeneration"))
	errs = append(errs, nonNegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, nonNegative(s.UpdatedReplicas, path.Child("updatedReplicas"))...)
	errs = append(errs, nonNegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonNegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonNegative(s.UnavailableReplicas, path.Child("unavailableReplicas"))...)
	errs = append(errs, nonNegativePtr(s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	errs = append(errs, nonNegativePtr(s.CollisionCount, path.Child("collisionCount"))...)
	errs = append(errs, atMost(s.UpdatedReplicas, s.Replicas, "status.replicas", path.Child("updatedReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	errs = append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas"))...)
	return append(errs, notDecremented(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount"))...)
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRollingUpdate(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, rules.Internal(*s), []string{
		string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType)})}
}

func validateRollingUpdate(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	unavailable, surge := orZero(r.MaxUnavailable), orZero(r.MaxSurge)
	errs := countOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, countOrPercent(surge, path.Child("maxSurge"))...)
	if amount(unavailable) == 0 && amount(surge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, atMostAll(unavailable, path.Child("maxUnavailable"))...)
}

func orZero(v *intstr.IntOrString) intstr.IntOrString {
	if v == nil {
		return intstr.IntOrString{}
	}
	return *v
}

func countOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch v.Type {
	case intstr.String:
		for _, msg := range utilvalidation.IsValidPercent(v.StrVal) {
			errs = append(errs, field.Invalid(path, v, msg))
		}
	case intstr.Int:
		errs = nonNegative(v.IntVal, path)
	}
	return errs
}

func percent(v intstr.IntOrString) (n int, ok bool) {
	if v.Type != intstr.String || len(utilvalidation.IsValidPercent(v.StrVal)) != 0 {
		return 0, false
	}
	n, _ = strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n, true
}

// amount is a percentage's number or the number itself: good for telling zero.
func amount(v intstr.IntOrString) int {
	if n, ok := percent(v); ok {
		return n
	}
	return v.IntValue()
}

func atMostAll(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if n, ok := percent(v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}
