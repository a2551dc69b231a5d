package batch

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/rules"
)

// maxCronName leaves room for what a Job's name gets behind it.
const maxCronName = 52

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	l := rules.List(validateCronSpec(&c.Spec, nil))
	if len(c.Name) > maxCronName {
		l.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters")
	}
	return l.Errors()
}

func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	return validateCronSpec(&c.Spec, &old.Spec)
}

func validateCronSpec(s, old *batchv1.CronJobSpec) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if s.Schedule == "" {
		l.Required(path.Child("schedule"), "")
	} else {
		zoned := old != nil && strings.Contains(old.Schedule, "TZ")
		l.Add(validateSchedule(s.Schedule, zoned, s.TimeZone, path.Child("schedule"))...)
	}
	if n := s.StartingDeadlineSeconds; n != nil {
		l.Add(rules.NonNegative(*n, path.Child("startingDeadlineSeconds"))...)
	}
	if old == nil || !ptr.Equal(old.TimeZone, s.TimeZone) {
		l.Add(validateZone(s.TimeZone, path.Child("timeZone"))...)
	}
	rules.SupportedOrRequired(&l, path.Child("concurrencyPolicy"), s.ConcurrencyPolicy,
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	var template *corev1.PodTemplateSpec
	if old != nil {
		template = &old.JobTemplate.Spec.Template
	}
	job := path.Child("jobTemplate", "spec")
	l.Add(validateParts(&s.JobTemplate.Spec, template, job)...)
	if s.JobTemplate.Spec.Selector != nil {
		l.Invalid(job.Child("selector"), s.JobTemplate.Spec.Selector, "`selector` will be auto-generated")
	}
	if m := s.JobTemplate.Spec.ManualSelector; m != nil && *m {
		l.Add(field.NotSupported(job.Child("manualSelector"), m, []string{"nil", "false"}))
	}
	l.Add(rules.NonNegative(int64(ptr.Deref(s.SuccessfulJobsHistoryLimit, 0)), path.Child("successfulJobsHistoryLimit"))...)
	l.Add(rules.NonNegative(int64(ptr.Deref(s.FailedJobsHistoryLimit, 0)), path.Child("failedJobsHistoryLimit"))...)
	return l.Errors()
}

func validateSchedule(schedule string, zoned bool, zone *string, path *field.Path) field.ErrorList {
	var l rules.List
	if err := parseSchedule(schedule); err != nil {
		l.Invalid(path, schedule, err.Error())
	}
	switch has := strings.Contains(schedule, "TZ"); {
	case zoned && has && zone != nil:
		l.Invalid(path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	case !zoned && has:
		l.Invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
	return l.Errors()
}

// parseSchedule survives what the parser does not, such as "TZ=0".
func parseSchedule(schedule string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(schedule)
	return err
}

var zonePart = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`) })

func validateZone(zone *string, path *field.Path) field.ErrorList {
	if zone == nil {
		return nil
	}
	var l rules.List
	if *zone == "" {
		l.Invalid(path, zone, "timeZone must be nil or non-empty string")
		return l.Errors()
	}
	for _, part := range strings.Split(*zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart().MatchString(part) {
			l.Invalid(path, zone, fmt.Sprintf("unknown time zone %s", *zone))
			return l.Errors()
		}
	}
	if strings.EqualFold(*zone, "Local") {
		l.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		l.Invalid(path, zone, err.Error())
	}
	return l.Errors()
}

func warnCronJob(c, old *batchv1.CronJob) []string {
	var out []string
	path := field.NewPath("spec", "jobTemplate", "spec")
	switch {
	case old == nil:
		if msgs := utilvalidation.IsDNS1123Label(c.Name); len(msgs) > 0 {
			out = append(out, nameWarning(msgs))
		}
		return append(out, warnSpec(&c.Spec.JobTemplate.Spec, nil, path)...)
	case cronJobChanged(c, old):
		out = warnSpec(&c.Spec.JobTemplate.Spec, &old.Spec.JobTemplate.Spec, path)
	}
	if strings.Contains(c.Spec.Schedule, "TZ") {
		out = append(out, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return out
}
