package autoscaling

import (
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/rules"
)

// Annotations hold what autoscaling/v1 and v2beta1 have no fields for.
const (
	specsAnnotation      = "autoscaling.alpha.kubernetes.io/metrics"
	statusesAnnotation   = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation   = "autoscaling.alpha.kubernetes.io/behavior"
)

var carried = []string{specsAnnotation, statusesAnnotation, conditionsAnnotation, behaviorAnnotation}

func oldVersions() []kinds.Version {
	metrics := convert.New(metricHooks()...)
	c := convert.New(append(metricHooks(),
		convert.Instead(func(in *autoscalingv1.HorizontalPodAutoscaler, out *autoscalingv2.HorizontalPodAutoscaler) error {
			return fromV1(metrics, in, out)
		}),
		convert.Instead(func(in *autoscalingv2.HorizontalPodAutoscaler, out *autoscalingv1.HorizontalPodAutoscaler) error {
			return toV1(metrics, in, out)
		}),
		convert.After(func(in *V2beta1, out *autoscalingv2.HorizontalPodAutoscaler) error {
			out.Spec.Behavior = readBehavior(in.Annotations)
			out.Annotations = withoutCarried(in.Annotations)
			return nil
		}),
		convert.After(func(in *autoscalingv2.HorizontalPodAutoscaler, out *V2beta1) error {
			out.Annotations = withoutCarried(in.Annotations)
			return carryBehavior(&out.Annotations, in.Spec.Behavior)
		}),
	)...)
	gone := func(version string, deprecated, removed int) (schema.GroupVersion, string) {
		return schema.GroupVersion{Group: group, Version: version}, fmt.Sprintf(
			"autoscaling/%s HorizontalPodAutoscaler is deprecated in v1.%d+, unavailable in v1.%d+; use autoscaling/v2 HorizontalPodAutoscaler",
			version, deprecated, removed)
	}
	v1 := convert.Current[autoscalingv2.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscalerList](
		c, autoscalingv1.SchemeGroupVersion, nil)
	gv, text := gone("v2beta2", 23, 26)
	v2beta2 := convert.Old[autoscalingv2.HorizontalPodAutoscaler, V2beta2, V2beta2List](c, gv, "HorizontalPodAutoscaler", nil)
	v2beta2.Deprecated = text
	gv, text = gone("v2beta1", 22, 25)
	v2beta1 := convert.Old[autoscalingv2.HorizontalPodAutoscaler, V2beta1, V2beta1List](c, gv, "HorizontalPodAutoscaler", nil)
	v2beta1.Deprecated = text
	return []kinds.Version{v1, mending(v2beta2), v2beta1}
}

// isCPU tells the one metric that autoscaling/v1 has a field for.
func isCPU(m *autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil &&
		m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil
}

func toV1(c *convert.Converter, in *autoscalingv2.HorizontalPodAutoscaler, out *autoscalingv1.HorizontalPodAutoscaler) error {
	out.ObjectMeta = in.ObjectMeta
	out.Annotations = withoutCarried(in.Annotations)
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
		MinReplicas:    in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
	}
	var others []autoscalingv1.MetricSpec
	for i := range in.Spec.Metrics {
		m := &in.Spec.Metrics[i]
		if isCPU(m) {
			if out.Spec.TargetCPUUtilizationPercentage == nil {
				out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
			}
			continue
		}
		var old autoscalingv1.MetricSpec
		if err := c.Convert(m, &old); err != nil {
			return err
		}
		others = append(others, old)
	}
	s := &in.Status
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime,
		CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas,
	}
	statuses := make([]autoscalingv1.MetricStatus, len(s.CurrentMetrics))
	for i := range s.CurrentMetrics {
		m := &s.CurrentMetrics[i]
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
		if err := c.Convert(m, &statuses[i]); err != nil {
			return err
		}
	}
	conditions := make([]autoscalingv1.HorizontalPodAutoscalerCondition, len(s.Conditions))
	for i := range s.Conditions {
		if err := c.Convert(&s.Conditions[i], &conditions[i]); err != nil {
			return err
		}
	}
	if err := carry(&out.Annotations, specsAnnotation, others, len(others)); err != nil {
		return err
	}
	if err := carry(&out.Annotations, statusesAnnotation, statuses, len(statuses)); err != nil {
		return err
	}
	if err := carryBehavior(&out.Annotations, in.Spec.Behavior); err != nil {
		return err
	}
	return carry(&out.Annotations, conditionsAnnotation, conditions, len(conditions))
}

func fromV1(c *convert.Converter, in *autoscalingv1.HorizontalPodAutoscaler, out *autoscalingv2.HorizontalPodAutoscaler) error {
	out.ObjectMeta = in.ObjectMeta
	out.Annotations = withoutCarried(in.Annotations)
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
		MinReplicas:    in.Spec.MinReplicas, MaxReplicas: in.Spec.MaxReplicas,
		Behavior: readBehavior(in.Annotations),
	}
	var others []autoscalingv1.MetricSpec
	if readCarried(in.Annotations, specsAnnotation, &others) {
		out.Spec.Metrics = make([]autoscalingv2.MetricSpec, len(others))
		for i := range others {
			if err := c.Convert(&others[i], &out.Spec.Metrics[i]); err != nil {
				return err
			}
		}
	}
	if n := in.Spec.TargetCPUUtilizationPercentage; n != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: n},
			},
		})
	}
	s := &in.Status
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: s.ObservedGeneration, LastScaleTime: s.LastScaleTime,
		CurrentReplicas: s.CurrentReplicas, DesiredReplicas: s.DesiredReplicas,
	}
	if n := s.CurrentCPUUtilizationPercentage; n != nil {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{
				Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: n},
			},
		}}
	}
	var statuses []autoscalingv1.MetricStatus
	if readCarried(in.Annotations, statusesAnnotation, &statuses) {
		out.Status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(statuses))
		for i := range statuses {
			if err := c.Convert(&statuses[i], &out.Status.CurrentMetrics[i]); err != nil {
				return err
			}
		}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	if readCarried(in.Annotations, conditionsAnnotation, &conditions) {
		out.Status.Conditions = make([]autoscalingv2.HorizontalPodAutoscalerCondition, len(conditions))
		for i := range conditions {
			if err := c.Convert(&conditions[i], &out.Status.Conditions[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func withoutCarried(m map[string]string) map[string]string {
	found := false
	for _, key := range carried {
		_, ok := m[key]
		found = found || ok
	}
	if !found {
		return m
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	for _, key := range carried {
		delete(out, key)
	}
	return out
}

// carry writes value into a copy of the annotations, where there is any.
func carry(annotations *map[string]string, key string, value any, n int) error {
	if n == 0 {
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("annotation %s: %w", key, err)
	}
	out := make(map[string]string, len(*annotations)+1)
	for k, v := range *annotations {
		out[k] = v
	}
	out[key] = string(raw)
	*annotations = out
	return nil
}

// readCarried ignores what it cannot read, as Kubernetes does: people write
// annotations too.
func readCarried(annotations map[string]string, key string, into any) bool {
	text, ok := annotations[key]
	return ok && json.Unmarshal([]byte(text), into) == nil
}

// The behaviour is in its annotation with the names of Go's fields, because that is
// how Kubernetes came to write it; reading minds no case.
func carryBehavior(annotations *map[string]string, b *autoscalingv2.HorizontalPodAutoscalerBehavior) error {
	if b == nil {
		return nil
	}
	return carry(annotations, behaviorAnnotation, rules.Internal(b), 1)
}

func readBehavior(annotations map[string]string) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	var b autoscalingv2.HorizontalPodAutoscalerBehavior
	if !readCarried(annotations, behaviorAnnotation, &b) || b == (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		return nil
	}
	return &b
}
