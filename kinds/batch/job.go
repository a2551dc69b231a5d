package batch

import (
	"fmt"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func job() *kinds.Kind {
	type T = *batchv1.Job
	return row.Fill[batchv1.Job, batchv1.JobList](batchv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "jobs", Categories: []string{"all"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultJob),
		PrepareCreate:  rules.Do(prepareJob),
		PrepareUpdate:  rules.Do2(func(j, old T) { j.Status = old.Status; core.DropPodTemplate(&j.Spec.Template, &old.Spec.Template) }),
		Generation:     rules.Differ(func(j, old T) bool { return !row.Same(j.Spec, old.Spec) }),
		Validate:       rules.Check(validateJob),
		ValidateUpdate: rules.Check2(validateJobUpdate),
		Warnings:       rules.Warn(warnJob),
		Subresources:   row.WithStatus(func(j, old T) { j.Spec = old.Spec }, validateJobStatusUpdate, "spec"),
		Columns:        jobColumns(),
		Cells:          rules.Cells(jobCells),
		// A job without labels of its own shows its pods', those that prepareJob made too.
		DefaultStored: true,
		FieldUnknown: func(_ schema.GroupVersionKind, label string) string {
			return fmt.Sprintf("field label %q not supported for Job", label)
		},
		Fields: map[string]func(kinds.Object) string{
			"status.successful": rules.Field(func(j T) string { return strconv.Itoa(int(j.Status.Succeeded)) }),
		},
	})
}

func defaultJob(j *batchv1.Job) {
	// One map, not two: what prepareJob adds to the pods' labels shows in the job's.
	if len(j.Labels) == 0 && j.Spec.Template.Labels != nil {
		j.Labels = j.Spec.Template.Labels
	}
	spec := &j.Spec
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = ptr.To[int32](1)
	}
	if spec.Parallelism == nil {
		spec.Parallelism = ptr.To[int32](1)
	}
	if spec.BackoffLimit == nil {
		spec.BackoffLimit = ptr.To[int32](6)
		if spec.BackoffLimitPerIndex != nil {
			spec.BackoffLimit = ptr.To[int32](math.MaxInt32)
		}
	}
	if spec.CompletionMode == nil {
		spec.CompletionMode = ptr.To(batchv1.NonIndexedCompletion)
	}
	if spec.Suspend == nil {
		spec.Suspend = ptr.To(false)
	}
	if spec.PodReplacementPolicy == nil {
		spec.PodReplacementPolicy = ptr.To(batchv1.TerminatingOrFailed)
		if spec.PodFailurePolicy != nil {
			spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
		}
	}
	if spec.ManualSelector == nil {
		spec.ManualSelector = ptr.To(false)
	}
	defaultParts(spec)
}

// defaultParts fills in what lies below a job's spec, which is what a CronJob's
// template gets too.
func defaultParts(spec *batchv1.JobSpec) {
	if spec.PodFailurePolicy != nil {
		for i := range spec.PodFailurePolicy.Rules {
			for k := range spec.PodFailurePolicy.Rules[i].OnPodConditions {
				if c := &spec.PodFailurePolicy.Rules[i].OnPodConditions[k]; c.Status == "" {
					c.Status = corev1.ConditionTrue
				}
			}
		}
	}
	defaultTemplate(&spec.Template)
}

func cloneLabels(in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

// prepareJob gives the pods labels of the job's own and the job a selector of
// them. It needs the job's name and uid.
func prepareJob(j *batchv1.Job) {
	j.Status = batchv1.JobStatus{}
	core.DropPodTemplate(&j.Spec.Template, nil)
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	labels := j.Spec.Template.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	give := func(value string, keys ...string) {
		for _, key := range keys {
			if _, found := labels[key]; !found {
				labels[key] = value
			}
		}
	}
	give(j.Name, "job-name", batchv1.JobNameLabel)
	give(string(j.UID), "controller-uid", batchv1.ControllerUidLabel)
	j.Spec.Template.Labels = labels
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if _, found := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !found {
		match := cloneLabels(j.Spec.Selector.MatchLabels)
		match[batchv1.ControllerUidLabel] = string(j.UID)
		j.Spec.Selector.MatchLabels = match
	}
}

func jobColumns() []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Status", "Status of the job."),
		rules.Column("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
		rules.Column("Duration", "Time required to complete the job."),
		rules.AgeColumn(),
	}, append(row.ContainerColumns(), rules.Wide(rules.Column("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"])))...)
}

func jobCells(j *batchv1.Job, now time.Time) []any {
	names, images := rules.ContainerCells(j.Spec.Template.Spec.Containers)
	return []any{
		j.Name, jobState(j), jobCompletions(j), jobDuration(&j.Status, now), rules.Age(j.CreationTimestamp, now),
		names, images, metav1.FormatLabelSelector(j.Spec.Selector),
	}
}

func jobState(j *batchv1.Job) string {
	switch {
	case hasCondition(j, batchv1.JobComplete):
		return "Complete"
	case hasCondition(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case hasCondition(j, batchv1.JobSuspended):
		return "Suspended"
	case hasCondition(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case hasCondition(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func hasCondition(j *batchv1.Job, t batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if p := ptr.Deref(j.Spec.Parallelism, 0); p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(s *batchv1.JobStatus, now time.Time) string {
	switch {
	case s.StartTime == nil:
		return ""
	case s.CompletionTime == nil:
		return duration.HumanDuration(now.Sub(s.StartTime.Time))
	}
	return duration.HumanDuration(s.CompletionTime.Sub(s.StartTime.Time))
}
