package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// oldCronJobs had the defaults that batch/v1 has.
func oldCronJobs() []kinds.Version {
	return []kinds.Version{convert.Old[batchv1.CronJob, batchv1beta1.CronJob, batchv1beta1.CronJobList](
		convert.New(), batchv1beta1.SchemeGroupVersion, "CronJob", nil)}
}
