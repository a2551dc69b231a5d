package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

func oldPriorityClass() []kinds.Version {
	return []kinds.Version{convert.Old[schedulingv1.PriorityClass, schedulingv1beta1.PriorityClass, schedulingv1beta1.PriorityClassList](
		convert.New(), schedulingv1beta1.SchemeGroupVersion, "PriorityClass", nil)}
}
