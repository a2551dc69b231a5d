package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// V2beta1 is HorizontalPodAutoscaler of autoscaling/v2beta1, a version whose Go types
// Kubernetes has dropped. Its metrics are those that autoscaling/v1 keeps in an
// annotation. It has no protobuf form: answer it in JSON.
type V2beta1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              V2beta1Spec   `json:"spec,omitempty"`
	Status            V2beta1Status `json:"status,omitempty"`
}

// V2beta1Spec is what a V2beta1 asks for.
type V2beta1Spec struct {
	ScaleTargetRef autoscalingv1.CrossVersionObjectReference `json:"scaleTargetRef"`
	MinReplicas    *int32                                    `json:"minReplicas,omitempty"`
	MaxReplicas    int32                                     `json:"maxReplicas"`
	Metrics        []autoscalingv1.MetricSpec                `json:"metrics,omitempty"`
}

// V2beta1Status is what was measured.
type V2beta1Status struct {
	ObservedGeneration *int64                                           `json:"observedGeneration,omitempty"`
	LastScaleTime      *metav1.Time                                     `json:"lastScaleTime,omitempty"`
	CurrentReplicas    int32                                            `json:"currentReplicas"`
	DesiredReplicas    int32                                            `json:"desiredReplicas"`
	CurrentMetrics     []autoscalingv1.MetricStatus                     `json:"currentMetrics"`
	Conditions         []autoscalingv1.HorizontalPodAutoscalerCondition `json:"conditions"`
}

// V2beta1List is a list of V2beta1.
type V2beta1List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []V2beta1 `json:"items"`
}

// DeepCopyObject copies h whole.
func (h *V2beta1) DeepCopyObject() runtime.Object {
	if h == nil {
		return nil
	}
	out := &V2beta1{TypeMeta: h.TypeMeta, Spec: h.Spec, Status: h.Status}
	h.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	if h.Spec.MinReplicas != nil {
		n := *h.Spec.MinReplicas
		out.Spec.MinReplicas = &n
	}
	out.Spec.Metrics = copyEach(h.Spec.Metrics, (*autoscalingv1.MetricSpec).DeepCopyInto)
	if h.Status.ObservedGeneration != nil {
		n := *h.Status.ObservedGeneration
		out.Status.ObservedGeneration = &n
	}
	out.Status.LastScaleTime = h.Status.LastScaleTime.DeepCopy()
	out.Status.CurrentMetrics = copyEach(h.Status.CurrentMetrics, (*autoscalingv1.MetricStatus).DeepCopyInto)
	out.Status.Conditions = copyEach(h.Status.Conditions, (*autoscalingv1.HorizontalPodAutoscalerCondition).DeepCopyInto)
	return out
}

// DeepCopyObject copies l whole.
func (l *V2beta1List) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &V2beta1List{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, func(in, out *V2beta1) { *out = *in.DeepCopyObject().(*V2beta1) })
	return out
}

func copyEach[T any](in []T, copy func(in, out *T)) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i := range in {
		copy(&in[i], &out[i])
	}
	return out
}
