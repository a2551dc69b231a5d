package batch

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func cronJob() *kinds.Kind {
	type T = *batchv1.CronJob
	return row.Fill[batchv1.CronJob, batchv1.CronJobList](batchv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "cronjobs", ShortNames: []string{"cj"}, Categories: []string{"all"},
		Namespaced: true,
		Name:       rules.DNSSubdomain,
		Default:    rules.Do(defaultCronJob),
		PrepareCreate: rules.Do(func(c T) {
			c.Status = batchv1.CronJobStatus{}
			core.DropPodTemplate(&c.Spec.JobTemplate.Spec.Template, nil)
		}),
		PrepareUpdate: rules.Do2(func(c, old T) {
			c.Status = old.Status
			core.DropPodTemplate(&c.Spec.JobTemplate.Spec.Template, &old.Spec.JobTemplate.Spec.Template)
		}),
		Generation:     rules.Differ(cronJobChanged),
		Validate:       rules.Check(validateCronJob),
		ValidateUpdate: rules.Check2(validateCronJobUpdate),
		Warnings:       rules.Warn(warnCronJob),
		Subresources:   row.WithStatus(func(c, old T) { c.Spec = old.Spec }, nil, "spec"),
		Columns:        cronJobColumns(),
		Cells:          rules.Cells(cronJobCells),
	}, oldCronJobs()...)
}

func cronJobChanged(c, old *batchv1.CronJob) bool { return !row.Same(c.Spec, old.Spec) }

func defaultCronJob(c *batchv1.CronJob) {
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	if c.Spec.Suspend == nil {
		c.Spec.Suspend = ptr.To(false)
	}
	if c.Spec.SuccessfulJobsHistoryLimit == nil {
		c.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](3)
	}
	if c.Spec.FailedJobsHistoryLimit == nil {
		c.Spec.FailedJobsHistoryLimit = ptr.To[int32](1)
	}
	defaultParts(&c.Spec.JobTemplate.Spec)
}

func cronJobColumns() []metav1.TableColumnDefinition {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Schedule", spec["schedule"]),
		rules.Column("Timezone", spec["timeZone"]),
		row.Boolean("Suspend", spec["suspend"]),
		rules.IntColumn("Active", status["active"]),
		rules.Column("Last Schedule", status["lastScheduleTime"]),
		rules.AgeColumn(),
	}, append(row.ContainerColumns(), rules.Wide(rules.Column("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"])))...)
}

func cronJobCells(c *batchv1.CronJob, now time.Time) []any {
	last := "<none>"
	if c.Status.LastScheduleTime != nil {
		last = rules.Age(*c.Status.LastScheduleTime, now)
	}
	suspend := "<unset>"
	if c.Spec.Suspend != nil {
		suspend = map[bool]string{true: "True", false: "False"}[*c.Spec.Suspend]
	}
	spec := &c.Spec.JobTemplate.Spec
	names, images := rules.ContainerCells(spec.Template.Spec.Containers)
	return []any{
		c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, "<none>"), suspend,
		int64(len(c.Status.Active)), last, rules.Age(c.CreationTimestamp, now),
		names, images, metav1.FormatLabelSelector(spec.Selector),
	}
}
