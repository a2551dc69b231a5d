package batch

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func cronJob() *kinds.Kind {
	type T = *batchv1.CronJob
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "CronJob", List: "CronJobList",
		Resource: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"}, Categories: []string{"all"},
		Namespaced:     true,
		Served:         row.Hub(group, "v1"),
		New:            row.Make[batchv1.CronJob](),
		NewList:        row.MakeAny[batchv1.CronJobList](),
		Name:           row.DNSSubdomain,
		Default:        row.Fill(defaultCronJob),
		PrepareCreate:  row.Fill(func(c T) { c.Status = batchv1.CronJobStatus{} }),
		PrepareUpdate:  row.Carry(func(c, old T) { c.Status = old.Status }),
		Generation:     row.Differ(cronJobChanged),
		Validate:       row.Judge(validateCronJob),
		ValidateUpdate: row.JudgeUpdate(validateCronJobUpdate),
		Warnings:       row.Warn(warnCronJob),
		Subresources:   row.WithStatus(func(c, old T) { c.Spec = old.Spec }, nil, "spec"),
		Columns:        cronJobColumns(),
		Cells:          row.Print(cronJobCells),
	}
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
		row.NameColumn(),
		row.Column("Schedule", spec["schedule"]),
		row.Column("Timezone", spec["timeZone"]),
		row.Boolean("Suspend", spec["suspend"]),
		row.Integer("Active", status["active"]),
		row.Column("Last Schedule", status["lastScheduleTime"]),
		row.AgeColumn(),
	}, append(row.ContainerColumns(), row.Wide(row.Column("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"])))...)
}

func cronJobCells(c *batchv1.CronJob, now time.Time) []any {
	last := "<none>"
	if c.Status.LastScheduleTime != nil {
		last = row.Since(*c.Status.LastScheduleTime, now)
	}
	suspend := "<unset>"
	if c.Spec.Suspend != nil {
		suspend = map[bool]string{true: "True", false: "False"}[*c.Spec.Suspend]
	}
	spec := &c.Spec.JobTemplate.Spec
	names, images := row.Containers(spec.Template.Spec.Containers)
	return []any{
		c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, "<none>"), suspend,
		int64(len(c.Status.Active)), last, row.Age(c, now),
		names, images, metav1.FormatLabelSelector(spec.Selector),
	}
}
