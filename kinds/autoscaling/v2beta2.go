package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// V2beta2 is HorizontalPodAutoscaler of autoscaling/v2beta2, a version whose Go types
// Kubernetes has dropped. It says what autoscaling/v2 says, in the same words. It has
// no protobuf form: answer it in JSON.
type V2beta2 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              autoscalingv2.HorizontalPodAutoscalerSpec   `json:"spec,omitempty"`
	Status            autoscalingv2.HorizontalPodAutoscalerStatus `json:"status,omitempty"`
}

// V2beta2List is a list of V2beta2.
type V2beta2List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []V2beta2 `json:"items"`
}

// DeepCopyObject copies h whole.
func (h *V2beta2) DeepCopyObject() runtime.Object {
	if h == nil {
		return nil
	}
	out := &V2beta2{TypeMeta: h.TypeMeta}
	h.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	h.Spec.DeepCopyInto(&out.Spec)
	h.Status.DeepCopyInto(&out.Status)
	return out
}

// DeepCopyObject copies l whole.
func (l *V2beta2List) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &V2beta2List{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, func(in, out *V2beta2) { *out = *in.DeepCopyObject().(*V2beta2) })
	return out
}
