package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateHPA(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList            { return nil }
func validateHPAUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList { return nil }
func validateHPAStatusUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return nil
}
