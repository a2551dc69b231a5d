package autoscaling

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func horizontalPodAutoscaler() *kinds.Kind {
	type T = *autoscalingv2.HorizontalPodAutoscaler
	return row.Fill[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](autoscalingv2.SchemeGroupVersion, &kinds.Kind{
		Resource:   "horizontalpodautoscalers",
		ShortNames: []string{"hpa"}, Categories: []string{"all"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultHPA),
		PrepareCreate:  rules.Do(func(h T) { h.Status = autoscalingv2.HorizontalPodAutoscalerStatus{} }),
		PrepareUpdate:  rules.Do2(func(h, old T) { h.Status = old.Status }),
		Validate:       rules.Check(validateHPA),
		ValidateUpdate: rules.Check2(validateHPAUpdate),
		Subresources:   row.WithStatus(func(h, old T) { h.Spec = old.Spec }, validateHPAStatusUpdate, "spec"),
		Columns:        hpaColumns(),
		Cells:          rules.Cells(hpaCells),
	}, oldVersions()...)
}

func defaultHPA(h *autoscalingv2.HorizontalPodAutoscaler) {
	if h.Spec.MinReplicas == nil {
		h.Spec.MinReplicas = ptr.To[int32](1)
	}
	if len(h.Spec.Metrics) == 0 {
		h.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](80)},
			},
		}}
	}
	if b := h.Spec.Behavior; b != nil {
		b.ScaleUp = orRules(b.ScaleUp, &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr.To[int32](0),
			Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
				{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
			},
		})
		// The window downwards is the controller's own default, hence left out.
		b.ScaleDown = orRules(b.ScaleDown, &autoscalingv2.HPAScalingRules{
			Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}},
		})
	}
}

// orRules lays what is given over the usual rules.
func orRules(given, usual *autoscalingv2.HPAScalingRules) *autoscalingv2.HPAScalingRules {
	usual.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
	if given == nil {
		return usual
	}
	if given.SelectPolicy != nil {
		usual.SelectPolicy = given.SelectPolicy
	}
	if given.StabilizationWindowSeconds != nil {
		usual.StabilizationWindowSeconds = given.StabilizationWindowSeconds
	}
	if given.Policies != nil {
		usual.Policies = given.Policies
	}
	usual.Tolerance = given.Tolerance
	return usual
}

func hpaColumns() []metav1.TableColumnDefinition {
	spec := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Reference", spec["scaleTargetRef"]),
		rules.Column("Targets", spec["metrics"]),
		rules.Column("MinPods", spec["minReplicas"]),
		rules.Column("MaxPods", spec["maxReplicas"]),
		rules.Column("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"]),
		rules.AgeColumn(),
	}
}

func hpaCells(h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
	least := "<unset>"
	if h.Spec.MinReplicas != nil {
		least = fmt.Sprint(*h.Spec.MinReplicas)
	}
	return []any{
		h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name,
		formatMetrics(h.Spec.Metrics, h.Status.CurrentMetrics), least,
		int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), rules.Age(h.CreationTimestamp, now),
	}
}

// formatMetrics shows the first two targets beside what was measured.
func formatMetrics(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	var list []string
	for i := range specs {
		var have *autoscalingv2.MetricStatus
		if i < len(statuses) {
			have = &statuses[i]
		}
		list = append(list, formatMetric(&specs[i], have))
	}
	if n := len(list) - 2; n > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:2], ", "), n)
	}
	return strings.Join(list, ", ")
}

func formatMetric(want *autoscalingv2.MetricSpec, have *autoscalingv2.MetricStatus) string {
	var now *autoscalingv2.MetricValueStatus
	switch {
	case want.Type == autoscalingv2.ExternalMetricSourceType && want.External != nil:
		if have != nil && have.External != nil {
			now = &have.External.Current
		}
		return formatValue(now, want.External.Target)
	case want.Type == autoscalingv2.ObjectMetricSourceType && want.Object != nil:
		if have != nil && have.Object != nil {
			now = &have.Object.Current
		}
		return formatValue(now, want.Object.Target)
	case want.Type == autoscalingv2.PodsMetricSourceType && want.Pods != nil:
		current := "<unknown>"
		if have != nil && have.Pods != nil {
			current = quantity(have.Pods.Current.AverageValue)
		}
		return current + "/" + quantity(want.Pods.Target.AverageValue)
	case want.Type == autoscalingv2.ResourceMetricSourceType && want.Resource != nil:
		if have != nil && have.Resource != nil {
			now = &have.Resource.Current
		}
		return string(want.Resource.Name) + ": " + formatUsage(now, want.Resource.Target)
	case want.Type == autoscalingv2.ContainerResourceMetricSourceType && want.ContainerResource != nil:
		if have != nil && have.ContainerResource != nil {
			now = &have.ContainerResource.Current
		}
		return string(want.ContainerResource.Name) + ": " + formatUsage(now, want.ContainerResource.Target)
	}
	return "<unknown type>"
}

// formatValue shows an average or a value.
func formatValue(now *autoscalingv2.MetricValueStatus, want autoscalingv2.MetricTarget) string {
	current := "<unknown>"
	if want.AverageValue != nil {
		if now != nil && now.AverageValue != nil {
			current = now.AverageValue.String()
		}
		return current + "/" + want.AverageValue.String() + " (avg)"
	}
	if now != nil {
		current = quantity(now.Value)
	}
	return current + "/" + quantity(want.Value)
}

// formatUsage shows an average or a share of what was requested.
func formatUsage(now *autoscalingv2.MetricValueStatus, want autoscalingv2.MetricTarget) string {
	current := "<unknown>"
	if want.AverageValue != nil {
		if now != nil {
			current = quantity(now.AverageValue)
		}
		return current + "/" + want.AverageValue.String()
	}
	if now != nil && now.AverageUtilization != nil {
		current = fmt.Sprintf("%d%%", *now.AverageUtilization)
	}
	target := "<auto>"
	if want.AverageUtilization != nil {
		target = fmt.Sprintf("%d%%", *want.AverageUtilization)
	}
	return current + "/" + target
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}
