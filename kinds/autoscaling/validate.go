package autoscaling

import (
	"fmt"
	"sort"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/autoscaling/validation in Kubernetes.

const (
	maxPeriodSeconds = 1800
	maxWindowSeconds = 3600
)

// leniency is what an update may keep.
type leniency struct {
	least         int32 // of minReplicas
	targetVersion bool  // any apiVersion of the scale target
	targetGroup   bool  // one without a group
	objectVersion bool  // any apiVersion of a described object
}

func validateHPA(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return validateSpec(&h.Spec, leniency{least: 1, targetGroup: h.Spec.ScaleTargetRef.Kind == "ReplicationController"})
}

func validateHPAUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	may := leniency{least: 1}
	if n := old.Spec.MinReplicas; n != nil && *n == 0 {
		may.least = 0
	}
	was, is := old.Spec.ScaleTargetRef, h.Spec.ScaleTargetRef
	switch {
	case was.APIVersion == is.APIVersion && was.Kind == is.Kind:
		may.targetVersion = true
	case is.Kind == "ReplicationController":
		may.targetGroup = true
	}
	for _, m := range old.Spec.Metrics {
		if m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil && versionError(m.Object.DescribedObject.APIVersion, true) != "" {
			may.objectVersion = true
		}
	}
	return validateSpec(&h.Spec, may)
}

func validateHPAStatusUpdate(h, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var l rules.List
	l.Add(rules.NonNegative(int64(h.Status.CurrentReplicas), field.NewPath("status", "currentReplicas"))...)
	l.Add(rules.NonNegative(int64(h.Status.DesiredReplicas), field.NewPath("status", "desiredReplicas"))...)
	return l.Errors()
}

func validateSpec(s *autoscalingv2.HorizontalPodAutoscalerSpec, may leniency) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if n := s.MinReplicas; n != nil && *n < may.least {
		l.Invalid(path.Child("minReplicas"), *n, fmt.Sprintf("must be greater than or equal to %d", may.least))
	}
	if s.MaxReplicas == 0 {
		l.Required(path.Child("maxReplicas"), "must be set and greater than 0")
	} else if s.MaxReplicas < 0 {
		l.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1")
	}
	if n := s.MinReplicas; n != nil && s.MaxReplicas < *n {
		l.Invalid(path.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	l.Add(validateReference(s.ScaleTargetRef, may.targetVersion, may.targetGroup, path.Child("scaleTargetRef"))...)
	l.Add(validateMetrics(s, may, path.Child("metrics"))...)
	if b := s.Behavior; b != nil {
		l.Add(validateRules(b.ScaleUp, path.Child("behavior", "scaleUp"))...)
		l.Add(validateRules(b.ScaleDown, path.Child("behavior", "scaleDown"))...)
	}
	return l.Errors()
}

func validateReference(r autoscalingv2.CrossVersionObjectReference, anyVersion, noGroup bool, path *field.Path) field.ErrorList {
	var l rules.List
	segment(&l, path.Child("kind"), r.Kind, "")
	segment(&l, path.Child("name"), r.Name, "")
	if !anyVersion {
		if why := versionError(r.APIVersion, noGroup); why != "" {
			l.Invalid(path.Child("apiVersion"), r.APIVersion, why)
		}
	}
	return l.Errors()
}

// segment judges a name that must be there and fit into a URL path.
func segment(l *rules.List, path *field.Path, name, missing string) {
	if name == "" {
		l.Required(path, missing)
		return
	}
	l.Messages(path, name, row.PathSegment(name, false))
}

func versionError(apiVersion string, noGroup bool) string {
	gv, err := schema.ParseGroupVersion(apiVersion)
	switch {
	case err != nil:
		return err.Error()
	case gv.Group == "" && !noGroup:
		return "apiVersion must specify API group"
	}
	return ""
}

func validateMetrics(s *autoscalingv2.HorizontalPodAutoscalerSpec, may leniency, path *field.Path) field.ErrorList {
	var l rules.List
	other := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		l.Add(validateMetric(m, may, path.Index(i))...)
		other = other || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !other {
		l.Forbidden(path, "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	return l.Errors()
}

var metricTypes = []autoscalingv2.MetricSourceType{
	autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
	autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
}

func validateMetric(m *autoscalingv2.MetricSpec, may leniency, path *field.Path) field.ErrorList {
	var l rules.List
	if m.Type == "" {
		l.Required(path.Child("type"), "must specify a metric source type")
	}
	rules.Supported(&l, path.Child("type"), m.Type, metricTypes...)
	// In the order in which the first is judged.
	sources := []struct {
		of    autoscalingv2.MetricSourceType
		name  string
		there bool
		judge func(*rules.List, *field.Path)
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil, func(l *rules.List, p *field.Path) { judgeObject(l, m.Object, may, p) }},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil, func(l *rules.List, p *field.Path) { judgeExternal(l, m.External, p) }},
		{autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil, func(l *rules.List, p *field.Path) { judgePods(l, m.Pods, p) }},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil, func(l *rules.List, p *field.Path) {
			judgeResource(l, string(m.Resource.Name), m.Resource.Target, p)
		}},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil, func(l *rules.List, p *field.Path) {
			judgeContainer(l, m.ContainerResource, p)
		}},
	}
	var present []string
	expected := ""
	for _, s := range sources {
		if s.there {
			if len(present) == 0 {
				s.judge(&l, path.Child(s.name))
			}
			present = append(present, s.name)
		}
		if s.of == m.Type {
			expected = s.name
			if !s.there {
				l.Required(path.Child(s.name), "must populate information for the given metric source")
			}
		}
	}
	if expected == "" {
		rules.Supported(&l, path.Child("type"), m.Type, metricTypes...)
	}
	if len(present) != 1 {
		sort.Strings(present)
		for _, name := range present {
			if name != expected {
				l.Forbidden(path.Child(name), "must populate the given metric source only")
			}
		}
	}
	return l.Errors()
}

func judgeObject(l *rules.List, m *autoscalingv2.ObjectMetricSource, may leniency, path *field.Path) {
	l.Add(validateReference(m.DescribedObject, may.objectVersion, true, path.Child("describedObject"))...)
	segment(l, path.Child("metric", "name"), m.Metric.Name, "must specify a metric name")
	judgeTarget(l, m.Target, path.Child("target"))
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		l.Required(path.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
}

func judgeExternal(l *rules.List, m *autoscalingv2.ExternalMetricSource, path *field.Path) {
	segment(l, path.Child("metric", "name"), m.Metric.Name, "must specify a metric name")
	judgeTarget(l, m.Target, path.Child("target"))
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		l.Required(path.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	}
	if m.Target.Value != nil && m.Target.AverageValue != nil {
		l.Forbidden(path.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
}

func judgePods(l *rules.List, m *autoscalingv2.PodsMetricSource, path *field.Path) {
	segment(l, path.Child("metric", "name"), m.Metric.Name, "must specify a metric name")
	judgeTarget(l, m.Target, path.Child("target"))
	if m.Target.AverageValue == nil {
		l.Required(path.Child("target", "averageValue"), "must specify a positive target averageValue")
	}
}

func judgeResource(l *rules.List, name string, t autoscalingv2.MetricTarget, path *field.Path) {
	if name == "" {
		l.Required(path.Child("name"), "must specify a resource name")
	}
	judgeUsage(l, t, path.Child("target"))
}

func judgeContainer(l *rules.List, m *autoscalingv2.ContainerResourceMetricSource, path *field.Path) {
	if m.Name == "" {
		l.Required(path.Child("name"), "must specify a resource name")
	} else {
		l.Add(core.ValidateContainerResource(m.Name, path.Child("name"))...)
	}
	if m.Container == "" {
		l.Required(path.Child("container"), "must specify a container")
	} else {
		l.Add(rules.DNSLabelField(m.Container, path.Child("container"))...)
	}
	judgeUsage(l, m.Target, path.Child("target"))
}

func judgeUsage(l *rules.List, t autoscalingv2.MetricTarget, path *field.Path) {
	judgeTarget(l, t, path)
	if t.AverageUtilization == nil && t.AverageValue == nil {
		l.Required(path.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	}
	if t.AverageUtilization != nil && t.AverageValue != nil {
		l.Forbidden(path.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}

func judgeTarget(l *rules.List, t autoscalingv2.MetricTarget, path *field.Path) {
	if t.Type == "" {
		l.Required(path.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		l.Invalid(path.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		l.Invalid(path.Child("value"), t.Value, "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		l.Invalid(path.Child("averageValue"), t.AverageValue, "must be positive")
	}
	if n := t.AverageUtilization; n != nil && *n < 1 {
		l.Invalid(path.Child("averageUtilization"), n, "must be greater than 0")
	}
}

func validateRules(r *autoscalingv2.HPAScalingRules, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var l rules.List
	if n := r.StabilizationWindowSeconds; n != nil {
		if *n < 0 {
			l.Invalid(path.Child("stabilizationWindowSeconds"), n, "must be greater than or equal to zero")
		}
		if *n > maxWindowSeconds {
			l.Invalid(path.Child("stabilizationWindowSeconds"), n, fmt.Sprintf("must be less than or equal to %v", maxWindowSeconds))
		}
	}
	if r.SelectPolicy != nil {
		rules.Supported(&l, path.Child("selectPolicy"), *r.SelectPolicy,
			autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	if len(r.Policies) == 0 {
		l.Required(path.Child("policies"), "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		at := path.Child("policies").Index(i)
		rules.Supported(&l, at.Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if p.Value <= 0 {
			l.Invalid(at.Child("value"), p.Value, "must be greater than zero")
		}
		if p.PeriodSeconds <= 0 {
			l.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero")
		}
		if p.PeriodSeconds > maxPeriodSeconds {
			l.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxPeriodSeconds))
		}
	}
	if r.Tolerance != nil {
		l.Add(rules.NonNegativeQuantity(*r.Tolerance, path.Child("tolerance"))...)
	}
	return l.Errors()
}
