package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	_, hadName := old.Spec.Template.Labels[batchv1.JobNameLabel]
	_, hadUID := old.Spec.Template.Labels[batchv1.ControllerUidLabel]
	opts := metavalidation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: metavalidation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector),
	}
	l := rules.List(validateWholeJob(j, old, hadName && hadUID, opts))
	l.Add(rules.MetaChange(nil, j, old)...)
	// Kubernetes judges the spec twice, and says so.
	l.Add(validateSpec(&j.Spec, &old.Spec.Template, opts)...)
	path, s, was := field.NewPath("spec"), &j.Spec, &old.Spec
	l.Add(validateCompletions(s, was, path.Child("completions"))...)
	l.Add(rules.Immutable(s.Selector, was.Selector, path.Child("selector"))...)
	l.Add(validateTemplateUpdate(j, old, path)...)
	l.Add(rules.Immutable(s.CompletionMode, was.CompletionMode, path.Child("completionMode"))...)
	l.Add(row.Immutable(s.PodFailurePolicy, was.PodFailurePolicy, path.Child("podFailurePolicy"))...)
	l.Add(rules.Immutable(s.BackoffLimitPerIndex, was.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	l.Add(rules.Immutable(s.ManagedBy, was.ManagedBy, path.Child("managedBy"))...)
	l.Add(row.Immutable(s.SuccessPolicy, was.SuccessPolicy, path.Child("successPolicy"))...)
	return l.Errors()
}

// validateCompletions lets indexed jobs be made larger and smaller with their
// parallelism.
func validateCompletions(s, old *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if !isIndexed(s) {
		return rules.Immutable(s.Completions, old.Completions, path)
	}
	if ptr.Equal(s.Completions, old.Completions) || s.Completions == nil {
		return nil
	}
	if *s.Completions != ptr.Deref(s.Parallelism, 0) {
		return field.ErrorList{field.Invalid(path, s.Completions, fmt.Sprintf("can only be modified in tandem with %s", path.Root().Child("parallelism")))}
	}
	return nil
}

// validateTemplateUpdate lets a suspended job that runs no pod be given other
// resources and another place.
func validateTemplateUpdate(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	if !ptr.Deref(old.Spec.Suspend, false) {
		return row.Immutable(&j.Spec.Template, &old.Spec.Template, path.Child("template"))
	}
	idle := (old.Status.StartTime == nil || hasCondition(old, batchv1.JobSuspended)) && old.Status.Active == 0
	if !idle {
		return row.Immutable(&j.Spec.Template, &old.Spec.Template, path.Child("template"))
	}
	template := &j.Spec.Template
	was := old.Spec.Template.DeepCopy()
	keepDirectives(was, template)
	keepResources(was.Spec.Containers, template.Spec.Containers)
	keepResources(was.Spec.InitContainers, template.Spec.InitContainers)
	return row.Immutable(template.Spec, was.Spec, path.Child("template.spec"))
}

func keepDirectives(was, template *corev1.PodTemplateSpec) {
	a, b := template.Spec.Affinity, was.Spec.Affinity
	switch {
	case a == nil && b != nil:
		b.NodeAffinity = nil
		if *b == (corev1.Affinity{}) {
			was.Spec.Affinity = nil
		}
	case a != nil && b == nil:
		was.Spec.Affinity = &corev1.Affinity{NodeAffinity: a.NodeAffinity}
	case a != nil && b != nil:
		b.NodeAffinity = a.NodeAffinity
	}
	was.Spec.NodeSelector, was.Spec.Tolerations = template.Spec.NodeSelector, template.Spec.Tolerations
	was.Annotations, was.Labels = template.Annotations, template.Labels
	was.Spec.SchedulingGates = template.Spec.SchedulingGates
}

func keepResources(was, is []corev1.Container) {
	if len(was) != len(is) {
		return
	}
	for i := range is {
		if was[i].Name == is[i].Name {
			was[i].Resources = is[i].Resources
		}
	}
}

func validateJobStatusUpdate(j, old *batchv1.Job) field.ErrorList {
	path := field.NewPath("status")
	l := rules.List(validateCounts(&j.Status, path))
	l.Add(validateEnd(j, old, path)...)
	l.Add(validateIndexes(j, old, path)...)
	is, was := &j.Status, &old.Status
	conditions := path.Child("conditions")
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if hasCondition(old, t) && !hasCondition(j, t) {
			l.Invalid(conditions, field.OmitValueType{}, fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if is.Failed < was.Failed {
		l.Invalid(path.Child("failed"), is.Failed, "cannot decrease the failed counter")
	}
	if is.Succeeded < was.Succeeded && !(isIndexed(&j.Spec) && ptr.Equal(j.Spec.Completions, j.Spec.Parallelism)) {
		l.Invalid(path.Child("succeeded"), is.Succeeded, "cannot decrease the succeeded counter")
	}
	if is.CompletionTime != nil && was.CompletionTime != nil && !is.CompletionTime.Equal(was.CompletionTime) {
		l.Invalid(path.Child("completionTime"), is.CompletionTime, "field is immutable")
	}
	resuming := hasCondition(old, batchv1.JobSuspended) && isFalse(j, batchv1.JobSuspended)
	if was.StartTime != nil && !was.StartTime.Equal(is.StartTime) && !resuming && !ptr.Deref(j.Spec.Suspend, false) {
		l.Invalid(path.Child("startTime"), is.StartTime, "field is immutable for unsuspended job once set")
	}
	if hasCondition(old, batchv1.JobSuccessCriteriaMet) && !hasCondition(j, batchv1.JobSuccessCriteriaMet) {
		l.Invalid(conditions, field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition")
	}
	if hasCondition(old, batchv1.JobComplete) && !hasCondition(old, batchv1.JobSuccessCriteriaMet) && hasCondition(j, batchv1.JobSuccessCriteriaMet) {
		l.Invalid(conditions, field.OmitValueType{}, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
	return l.Errors()
}

func isFalse(j *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionFalse {
			return true
		}
	}
	return false
}

func validateCounts(s *batchv1.JobStatus, path *field.Path) field.ErrorList {
	var l rules.List
	l.Add(rules.NonNegative(int64(s.Active), path.Child("active"))...)
	l.Add(rules.NonNegative(int64(s.Succeeded), path.Child("succeeded"))...)
	l.Add(rules.NonNegative(int64(s.Failed), path.Child("failed"))...)
	l.Add(rules.NonNegative(int64(ptr.Deref(s.Ready, 0)), path.Child("ready"))...)
	l.Add(rules.NonNegative(int64(ptr.Deref(s.Terminating, 0)), path.Child("terminating"))...)
	if u := s.UncountedTerminatedPods; u != nil {
		seen := map[string]bool{}
		note := func(uid string, at *field.Path) {
			switch {
			case uid == "":
				l.Invalid(at, uid, "must not be empty")
			case seen[uid]:
				l.Duplicate(at, uid)
			}
			seen[uid] = true
		}
		for i, uid := range u.Succeeded {
			note(string(uid), path.Child("uncountedTerminatedPods", "succeeded").Index(i))
		}
		for i, uid := range u.Failed {
			note(string(uid), path.Child("uncountedTerminatedPods", "failed").Index(i))
		}
	}
	return l.Errors()
}

// validateEnd judges how a job may come to its end. What is not touched by the write
// is not judged.
func validateEnd(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	var l rules.List
	s, was := &j.Status, &old.Status
	complete, failed := hasCondition(j, batchv1.JobComplete), hasCondition(j, batchv1.JobFailed)
	met, target := hasCondition(j, batchv1.JobSuccessCriteriaMet), hasCondition(j, batchv1.JobFailureTarget)
	finished := complete || failed
	changed := func(t batchv1.JobConditionType) bool { return hasCondition(j, t) != hasCondition(old, t) }
	completeChanged, failedChanged := changed(batchv1.JobComplete), changed(batchv1.JobFailed)
	finishedChanged := finished != (hasCondition(old, batchv1.JobComplete) || hasCondition(old, batchv1.JobFailed))
	startChanged, endChanged := !s.StartTime.Equal(was.StartTime), !s.CompletionTime.Equal(was.CompletionTime)
	conditions := path.Child("conditions")
	refuse := func(is bool, at *field.Path, value any, why string) {
		if is {
			l.Invalid(at, value, why)
		}
	}
	omit := field.OmitValueType{}
	refuse((completeChanged || failedChanged) && complete && failed, conditions, omit, "cannot set Complete=True and Failed=true conditions")
	refuse((completeChanged || changed(batchv1.JobFailureTarget)) && complete && target, conditions, omit, "cannot set Complete=True and FailureTarget=true conditions")
	refuse((completeChanged || endChanged) && s.CompletionTime != nil && !complete, path.Child("completionTime"), s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	if (completeChanged || endChanged) && s.CompletionTime == nil && complete {
		l.Required(path.Child("completionTime"), "completionTime is required for Complete jobs")
	}
	refuse((startChanged || endChanged) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime),
		path.Child("completionTime"), s.CompletionTime, "must be equal to or after `startTime`")
	failedIndexesChanged := !ptr.Equal(s.FailedIndexes, was.FailedIndexes)
	refuse((failedChanged || failedIndexesChanged) && failed && !target, conditions, omit, "cannot set Failed=True condition without the FailureTarget=true condition")
	refuse((completeChanged || changed(batchv1.JobSuccessCriteriaMet)) && complete && !met, conditions, omit, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	activeChanged := s.Active != was.Active
	refuse((finishedChanged || activeChanged) && s.Active > 0 && finished, path.Child("active"), s.Active, "active>0 is invalid for finished job")
	nothingToDo := ptr.Deref(j.Spec.Suspend, false) && j.Spec.Completions != nil && *j.Spec.Completions == 0
	if (finishedChanged || startChanged) && !nothingToDo && s.StartTime == nil && finished {
		l.Required(path.Child("startTime"), "startTime is required for finished job")
	}
	u := s.UncountedTerminatedPods
	refuse((finishedChanged || !row.Same(u, was.UncountedTerminatedPods)) && finished && u != nil && len(u.Failed)+len(u.Succeeded) > 0,
		path.Child("uncountedTerminatedPods"), rules.Internal(u), "must be empty for finished job")
	refuse((finishedChanged || !ptr.Equal(s.Terminating, was.Terminating)) && finished && ptr.Deref(s.Terminating, 0) > 0,
		path.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job")
	refuse((activeChanged || !ptr.Equal(s.Ready, was.Ready)) && ptr.Deref(s.Ready, 0) > s.Active && s.Ready != nil,
		path.Child("ready"), ptr.Deref(s.Ready, 0), "cannot set more ready pods than active")
	refuse(met && failed, conditions, omit, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	refuse(met && target, conditions, omit, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	refuse(j.Spec.SuccessPolicy != nil && !met && complete, conditions, omit, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	return l.Errors()
}

func validateIndexes(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	var l rules.List
	s, was := &j.Status, &old.Status
	completedChanged, failedChanged := s.CompletedIndexes != was.CompletedIndexes, !ptr.Equal(s.FailedIndexes, was.FailedIndexes)
	completed, failed := path.Child("completedIndexes"), path.Child("failedIndexes")
	if n := j.Spec.Completions; n != nil {
		if completedChanged {
			if _, err := countIndexes(s.CompletedIndexes, *n); err != nil {
				l.Invalid(completed, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
			}
		}
		if failedChanged && j.Spec.BackoffLimitPerIndex != nil && s.FailedIndexes != nil {
			if _, err := countIndexes(*s.FailedIndexes, *n); err != nil {
				l.Invalid(failed, s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err))
			}
		}
	}
	if completedChanged && s.CompletedIndexes != "" && !isIndexed(&j.Spec) {
		l.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failedChanged && j.Spec.BackoffLimitPerIndex == nil && s.FailedIndexes != nil {
		l.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (completedChanged || failedChanged) && j.Spec.Completions != nil && s.FailedIndexes != nil {
		if at, found := overlap(s.CompletedIndexes, *s.FailedIndexes, *j.Spec.Completions); found {
			l.Invalid(failed, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", at))
		}
	}
	return l.Errors()
}
