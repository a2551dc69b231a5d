package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"skiff.dev/skiff/kinds/convert"
)

// Before v2beta2 a metric was flat: a name, a selector and a number beside each
// other. (pkg/apis/autoscaling/v1/conversion.go in Kubernetes.)

func metricHooks() []convert.Hook {
	return append(sourceHooks(), statusHooks()...)
}

func sourceHooks() []convert.Hook {
	return []convert.Hook{
		convert.Instead(func(in *autoscalingv1.ObjectMetricSource, out *autoscalingv2.ObjectMetricSource) error {
			out.DescribedObject = autoscalingv2.CrossVersionObjectReference(in.Target)
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.Selector}
			out.Target = autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: in.AverageValue}
			if in.AverageValue == nil {
				out.Target.Type = autoscalingv2.ValueMetricType
			}
			if in.AverageValue == nil || !in.TargetValue.IsZero() {
				out.Target.Value = some(in.TargetValue)
			}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ObjectMetricSource, out *autoscalingv1.ObjectMetricSource) error {
			out.Target = autoscalingv1.CrossVersionObjectReference(in.DescribedObject)
			out.MetricName, out.Selector = in.Metric.Name, in.Metric.Selector
			out.TargetValue, out.AverageValue = zero(in.Target.Value), in.Target.AverageValue
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.PodsMetricSource, out *autoscalingv2.PodsMetricSource) error {
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.Selector}
			out.Target = autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: some(in.TargetAverageValue)}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.PodsMetricSource, out *autoscalingv1.PodsMetricSource) error {
			out.MetricName, out.Selector = in.Metric.Name, in.Metric.Selector
			out.TargetAverageValue = zero(in.Target.AverageValue)
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ResourceMetricSource, out *autoscalingv2.ResourceMetricSource) error {
			out.Name, out.Target = in.Name, usage(in.TargetAverageUtilization, in.TargetAverageValue)
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ResourceMetricSource, out *autoscalingv1.ResourceMetricSource) error {
			out.Name = in.Name
			out.TargetAverageUtilization, out.TargetAverageValue = in.Target.AverageUtilization, in.Target.AverageValue
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ContainerResourceMetricSource, out *autoscalingv2.ContainerResourceMetricSource) error {
			out.Name, out.Container, out.Target = in.Name, in.Container, usage(in.TargetAverageUtilization, in.TargetAverageValue)
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ContainerResourceMetricSource, out *autoscalingv1.ContainerResourceMetricSource) error {
			out.Name, out.Container = in.Name, in.Container
			out.TargetAverageUtilization, out.TargetAverageValue = in.Target.AverageUtilization, in.Target.AverageValue
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ExternalMetricSource, out *autoscalingv2.ExternalMetricSource) error {
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.MetricSelector}
			out.Target = autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: in.TargetValue, AverageValue: in.TargetAverageValue}
			if in.TargetValue == nil {
				out.Target.Type = autoscalingv2.AverageValueMetricType
			}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ExternalMetricSource, out *autoscalingv1.ExternalMetricSource) error {
			out.MetricName, out.MetricSelector = in.Metric.Name, in.Metric.Selector
			out.TargetValue, out.TargetAverageValue = in.Target.Value, in.Target.AverageValue
			return nil
		}),
	}
}

func statusHooks() []convert.Hook {
	return []convert.Hook{
		convert.Instead(func(in *autoscalingv1.ObjectMetricStatus, out *autoscalingv2.ObjectMetricStatus) error {
			out.DescribedObject = autoscalingv2.CrossVersionObjectReference(in.Target)
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.Selector}
			out.Current = autoscalingv2.MetricValueStatus{Value: some(in.CurrentValue), AverageValue: in.AverageValue}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ObjectMetricStatus, out *autoscalingv1.ObjectMetricStatus) error {
			out.Target = autoscalingv1.CrossVersionObjectReference(in.DescribedObject)
			out.MetricName, out.Selector = in.Metric.Name, in.Metric.Selector
			out.CurrentValue, out.AverageValue = zero(in.Current.Value), in.Current.AverageValue
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.PodsMetricStatus, out *autoscalingv2.PodsMetricStatus) error {
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.Selector}
			out.Current = autoscalingv2.MetricValueStatus{AverageValue: some(in.CurrentAverageValue)}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.PodsMetricStatus, out *autoscalingv1.PodsMetricStatus) error {
			out.MetricName, out.Selector = in.Metric.Name, in.Metric.Selector
			out.CurrentAverageValue = zero(in.Current.AverageValue)
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ResourceMetricStatus, out *autoscalingv2.ResourceMetricStatus) error {
			out.Name = in.Name
			out.Current = autoscalingv2.MetricValueStatus{AverageValue: some(in.CurrentAverageValue), AverageUtilization: in.CurrentAverageUtilization}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ResourceMetricStatus, out *autoscalingv1.ResourceMetricStatus) error {
			out.Name = in.Name
			out.CurrentAverageValue, out.CurrentAverageUtilization = zero(in.Current.AverageValue), in.Current.AverageUtilization
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ContainerResourceMetricStatus, out *autoscalingv2.ContainerResourceMetricStatus) error {
			out.Name, out.Container = in.Name, in.Container
			out.Current = autoscalingv2.MetricValueStatus{AverageValue: some(in.CurrentAverageValue), AverageUtilization: in.CurrentAverageUtilization}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ContainerResourceMetricStatus, out *autoscalingv1.ContainerResourceMetricStatus) error {
			out.Name, out.Container = in.Name, in.Container
			out.CurrentAverageValue, out.CurrentAverageUtilization = zero(in.Current.AverageValue), in.Current.AverageUtilization
			return nil
		}),
		convert.Instead(func(in *autoscalingv1.ExternalMetricStatus, out *autoscalingv2.ExternalMetricStatus) error {
			out.Metric = autoscalingv2.MetricIdentifier{Name: in.MetricName, Selector: in.MetricSelector}
			out.Current = autoscalingv2.MetricValueStatus{Value: some(in.CurrentValue), AverageValue: in.CurrentAverageValue}
			return nil
		}),
		convert.Instead(func(in *autoscalingv2.ExternalMetricStatus, out *autoscalingv1.ExternalMetricStatus) error {
			out.MetricName, out.MetricSelector = in.Metric.Name, in.Metric.Selector
			out.CurrentValue, out.CurrentAverageValue = zero(in.Current.Value), in.Current.AverageValue
			return nil
		}),
	}
}

func usage(utilization *int32, value *resource.Quantity) autoscalingv2.MetricTarget {
	t := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: utilization, AverageValue: value}
	if utilization == nil {
		t.Type = autoscalingv2.AverageValueMetricType
	}
	return t
}

func some(q resource.Quantity) *resource.Quantity { return &q }

func zero(q *resource.Quantity) resource.Quantity {
	if q == nil {
		return resource.Quantity{}
	}
	return *q
}
