package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// V2beta2 is HorizontalPodAutoscaler of autoscaling/v2beta2, a version whose Go types
// Kubernetes has dropped. It says what autoscaling/v2 says, in the same words, and
// reads besides what courses wrote by mistake (mend.go). It has no protobuf form:
// answer it in JSON.
type V2beta2 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              V2beta2Spec                                 `json:"spec,omitempty"`
	Status            autoscalingv2.HorizontalPodAutoscalerStatus `json:"status,omitempty"`
}

// V2beta2Spec is what a V2beta2 asks for.
type V2beta2Spec struct {
	ScaleTargetRef autoscalingv2.CrossVersionObjectReference      `json:"scaleTargetRef"`
	MinReplicas    *int32                                         `json:"minReplicas,omitempty"`
	MaxReplicas    int32                                          `json:"maxReplicas"`
	Metrics        []V2beta2Metric                                `json:"metrics,omitempty"`
	Behavior       *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
}

// V2beta2Metric is one metric with its target.
type V2beta2Metric struct {
	Type              autoscalingv2.MetricSourceType `json:"type"`
	Object            *V2beta2Object                 `json:"object,omitempty"`
	Pods              *V2beta2Pods                   `json:"pods,omitempty"`
	Resource          *V2beta2Resource               `json:"resource,omitempty"`
	ContainerResource *V2beta2ContainerResource      `json:"containerResource,omitempty"`
	External          *V2beta2External               `json:"external,omitempty"`
}

// V2beta2Target is the value to reach. Kind is a common mistake for Type.
type V2beta2Target struct {
	Type               autoscalingv2.MetricTargetType `json:"type"`
	Kind               string                         `json:"kind,omitempty"`
	Value              *resource.Quantity             `json:"value,omitempty"`
	AverageValue       *resource.Quantity             `json:"averageValue,omitempty"`
	AverageUtilization *int32                         `json:"averageUtilization,omitempty"`
}

// V2beta2Flat are the targets as autoscaling/v2beta1 spelled them, beside the metric
// instead of within target.
type V2beta2Flat struct {
	TargetValue              *resource.Quantity `json:"targetValue,omitempty"`
	TargetAverageValue       *resource.Quantity `json:"targetAverageValue,omitempty"`
	TargetAverageUtilization *int32             `json:"targetAverageUtilization,omitempty"`
}

// V2beta2Object is a metric of another object.
type V2beta2Object struct {
	V2beta2Flat     `json:",inline"`
	DescribedObject autoscalingv2.CrossVersionObjectReference `json:"describedObject"`
	Target          V2beta2Target                             `json:"target"`
	Metric          autoscalingv2.MetricIdentifier            `json:"metric"`
}

// V2beta2Pods is a metric of the pods.
type V2beta2Pods struct {
	V2beta2Flat `json:",inline"`
	Metric      autoscalingv2.MetricIdentifier `json:"metric"`
	Target      V2beta2Target                  `json:"target"`
}

// V2beta2Resource is the use of a resource.
type V2beta2Resource struct {
	V2beta2Flat `json:",inline"`
	Name        corev1.ResourceName `json:"name"`
	Target      V2beta2Target       `json:"target"`
}

// V2beta2ContainerResource is the use of a resource by one container of each pod.
type V2beta2ContainerResource struct {
	V2beta2Flat `json:",inline"`
	Name        corev1.ResourceName `json:"name"`
	Target      V2beta2Target       `json:"target"`
	Container   string              `json:"container"`
}

// V2beta2External is a metric from outside the cluster.
type V2beta2External struct {
	V2beta2Flat `json:",inline"`
	Metric      autoscalingv2.MetricIdentifier `json:"metric"`
	Target      V2beta2Target                  `json:"target"`
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
	out.Spec = h.Spec
	out.Spec.MinReplicas = copied(h.Spec.MinReplicas)
	out.Spec.Metrics = copyEach(h.Spec.Metrics, copyMetric)
	out.Spec.Behavior = h.Spec.Behavior.DeepCopy()
	h.Status.DeepCopyInto(&out.Status)
	return out
}

func copyMetric(in, out *V2beta2Metric) {
	*out = V2beta2Metric{
		Type: in.Type, Object: copied(in.Object), Pods: copied(in.Pods), Resource: copied(in.Resource),
		ContainerResource: copied(in.ContainerResource), External: copied(in.External),
	}
	for _, p := range out.parts() {
		p.flat.TargetValue = copyQuantity(p.flat.TargetValue)
		p.flat.TargetAverageValue = copyQuantity(p.flat.TargetAverageValue)
		p.flat.TargetAverageUtilization = copied(p.flat.TargetAverageUtilization)
		p.target.Value = copyQuantity(p.target.Value)
		p.target.AverageValue = copyQuantity(p.target.AverageValue)
		p.target.AverageUtilization = copied(p.target.AverageUtilization)
		if p.metric != nil {
			p.metric.Selector = p.metric.Selector.DeepCopy()
		}
	}
}

func copyQuantity(q *resource.Quantity) *resource.Quantity {
	if q == nil {
		return nil
	}
	c := q.DeepCopy()
	return &c
}

// copied copies what p points to; that holds no pointers itself.
func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
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
