package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of these files are those of pkg/apis/batch/validation in Kubernetes.

const (
	maxIndexed         = 100000 // parallelism, failed indexes, and completions without more ado
	maxHighCompletions = 10000  // parallelism and failed indexes above that
	maxManagedBy       = 63
)

func defaultTemplate(t *corev1.PodTemplateSpec) { core.DefaultPodTemplate(t) }

func validateJob(j *batchv1.Job) field.ErrorList {
	return validateWholeJob(j, nil, true, metavalidation.LabelSelectorValidationOptions{})
}

func validateWholeJob(j, old *batchv1.Job, prefixed bool, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	var l rules.List
	l.Add(validateGenerated(j, prefixed)...)
	l.Add(validateSpec(&j.Spec, oldTemplate(old), opts)...)
	if isIndexed(&j.Spec) && j.Spec.Completions != nil && *j.Spec.Completions > 0 {
		host := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
		if len(utilvalidation.IsDNS1123Label(host)) > 0 {
			l.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+host)
		}
	}
	return l.Errors()
}

func oldTemplate(old *batchv1.Job) *corev1.PodTemplateSpec {
	if old == nil {
		return nil
	}
	return &old.Spec.Template
}

// validateGenerated wants the labels and the selector that prepareJob gives.
func validateGenerated(j *batchv1.Job, prefixed bool) field.ErrorList {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var l rules.List
	if j.UID == "" {
		l.Required(field.NewPath("metadata", "uid"), "")
	}
	expected := labels.Set{}
	want := func(key, value string) {
		expected[key] = value
		have, found := j.Spec.Template.Labels[key]
		path := field.NewPath("spec", "template", "metadata", "labels")
		if !found {
			l.Required(path.Key(key), fmt.Sprintf("must be '%s'", value))
		} else if have != value {
			l.Invalid(path.Key(key), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", value))
		}
	}
	want("controller-uid", string(j.UID))
	want("job-name", j.Name)
	if prefixed {
		want(batchv1.ControllerUidLabel, string(j.UID))
		want(batchv1.JobNameLabel, j.Name)
	}
	if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(expected) {
		l.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
	return l.Errors()
}

func validateSpec(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, opts metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	path := field.NewPath("spec")
	l := rules.List(validateParts(s, old, path))
	if s.Selector == nil {
		l.Required(path.Child("selector"), "")
	} else {
		l.Add(metavalidation.ValidateLabelSelector(s.Selector, opts, path.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		l.Invalid(path.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	return l.Errors()
}

func isIndexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

// validateParts judges what a job and a CronJob's template have in common.
func validateParts(s *batchv1.JobSpec, old *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	var l rules.List
	for _, n := range []struct {
		name  string
		value *int32
	}{
		{"parallelism", s.Parallelism}, {"completions", s.Completions}, {"backoffLimit", s.BackoffLimit},
		{"ttlSecondsAfterFinished", s.TTLSecondsAfterFinished},
		{"backoffLimitPerIndex", s.BackoffLimitPerIndex}, {"maxFailedIndexes", s.MaxFailedIndexes},
	} {
		if n.value != nil {
			l.Add(rules.NonNegative(int64(*n.value), path.Child(n.name))...)
		}
	}
	if s.ActiveDeadlineSeconds != nil {
		l.Add(rules.NonNegative(*s.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		l.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if s.ManagedBy != nil {
		l.Add(utilvalidation.IsDomainPrefixedPath(path.Child("managedBy"), *s.ManagedBy)...)
		if len(*s.ManagedBy) > maxManagedBy {
			l.TooLong(path.Child("managedBy"), maxManagedBy)
		}
	}
	if s.CompletionMode != nil {
		rules.Supported(&l, path.Child("completionMode"), *s.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	if isIndexed(s) {
		l.Add(validateIndexed(s, path)...)
	}
	if s.CompletionMode == nil || *s.CompletionMode == batchv1.NonIndexedCompletion {
		if s.BackoffLimitPerIndex != nil {
			l.Invalid(path.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode")
		}
		if s.MaxFailedIndexes != nil {
			l.Invalid(path.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode")
		}
	}
	if s.PodFailurePolicy != nil {
		l.Add(validateFailurePolicy(s, path.Child("podFailurePolicy"))...)
	}
	if s.SuccessPolicy != nil {
		if isIndexed(s) {
			l.Add(validateSuccessPolicy(s, path.Child("successPolicy"))...)
		} else {
			l.Invalid(path.Child("successPolicy"), rules.Internal(*s.SuccessPolicy), "requires indexed completion mode")
		}
	}
	if p := s.PodReplacementPolicy; p != nil {
		if s.PodFailurePolicy != nil {
			rules.Supported(&l, path.Child("podReplacementPolicy"), *p, batchv1.Failed)
		} else {
			rules.Supported(&l, path.Child("podReplacementPolicy"), *p, batchv1.Failed, batchv1.TerminatingOrFailed)
		}
	}
	l.Add(core.ValidatePodTemplateUpdate(&s.Template, old, path.Child("template"))...)
	l.Add(validateRestart(s, path.Child("template", "spec", "restartPolicy"))...)
	return l.Errors()
}

// validateRestart wants pods that end.
func validateRestart(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var l rules.List
	switch p := s.Template.Spec.RestartPolicy; {
	case p == corev1.RestartPolicyAlways || p == "":
		l.Required(path, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		rules.Supported(&l, path, p, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case s.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		l.Invalid(path, p, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
	}
	return l.Errors()
}

func validateIndexed(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var l rules.List
	if s.Completions == nil {
		l.Required(path.Child("completions"), "when completion mode is Indexed")
	}
	if n := s.Parallelism; n != nil && *n > maxIndexed {
		l.Invalid(path.Child("parallelism"), *n, fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexed))
	}
	if n := s.MaxFailedIndexes; n != nil {
		if s.Completions != nil && *n > *s.Completions {
			l.Invalid(path.Child("maxFailedIndexes"), *n, "must be less than or equal to completions")
		}
		if *n > maxIndexed {
			l.Invalid(path.Child("maxFailedIndexes"), *n, fmt.Sprintf("must be less than or equal to %d", maxIndexed))
		}
	}
	if s.Completions == nil || *s.Completions <= maxIndexed || s.BackoffLimitPerIndex == nil {
		return l.Errors()
	}
	if s.MaxFailedIndexes == nil {
		l.Required(path.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", maxIndexed))
	}
	high := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", maxHighCompletions, maxIndexed)
	if n := s.Parallelism; n != nil && *n > maxHighCompletions {
		l.Invalid(path.Child("parallelism"), *n, high)
	}
	if n := s.MaxFailedIndexes; n != nil && *n > maxHighCompletions {
		l.Invalid(path.Child("maxFailedIndexes"), *n, high)
	}
	return l.Errors()
}

func warnJob(j, old *batchv1.Job) []string {
	if old != nil && row.Same(j.Spec, old.Spec) {
		return nil
	}
	var out []string
	var was *batchv1.JobSpec
	if old != nil {
		was = &old.Spec
	} else if msgs := utilvalidation.IsDNS1123Label(j.Name); len(msgs) > 0 {
		out = append(out, nameWarning(msgs))
	}
	return append(out, warnSpec(&j.Spec, was, field.NewPath("spec"))...)
}

func nameWarning(msgs []string) string {
	return fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)
}

func warnSpec(s, old *batchv1.JobSpec, path *field.Path) []string {
	var out []string
	if isIndexed(s) && ptr.Deref(s.Completions, 0) > maxIndexed && ptr.Deref(s.Parallelism, 0) > maxHighCompletions {
		out = append(out, path.String()+": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	var was *corev1.PodTemplateSpec
	if old != nil {
		was = &old.Template
	}
	return append(out, core.PodTemplateWarnings(&s.Template, was, path.Child("template"))...)
}
