package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
)

func defaultTemplate(t *corev1.PodTemplateSpec) { core.DefaultPodTemplate(t) }

func validateJob(j *batchv1.Job) field.ErrorList                    { return nil }
func validateJobUpdate(j, old *batchv1.Job) field.ErrorList         { return nil }
func validateJobStatusUpdate(j, old *batchv1.Job) field.ErrorList   { return nil }
func warnJob(j, old *batchv1.Job) []string                          { return nil }
func validateCronJob(c *batchv1.CronJob) field.ErrorList            { return nil }
func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList { return nil }
func warnCronJob(c, old *batchv1.CronJob) []string                  { return nil }
