package autoscaling

import (
	"cmp"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
)

// Courses wrote autoscaling/v2beta2 by guess: targets beside the metric as v2beta1
// had them, target.kind or no target.type at all, the type "AverageUtilization".
// What was meant is plain, so it is accepted with a warning. Only the old version is
// read so; autoscaling/v2 is as strict as Kubernetes.

// part is one source of a metric by its field's name.
type part struct {
	name   string
	flat   *V2beta2Flat
	target *V2beta2Target
	metric *autoscalingv2.MetricIdentifier // nil: none
}

// parts lists the sources that m has.
func (m *V2beta2Metric) parts() []part {
	var out []part
	if s := m.Object; s != nil {
		out = append(out, part{"object", &s.V2beta2Flat, &s.Target, &s.Metric})
	}
	if s := m.Pods; s != nil {
		out = append(out, part{"pods", &s.V2beta2Flat, &s.Target, &s.Metric})
	}
	if s := m.Resource; s != nil {
		out = append(out, part{"resource", &s.V2beta2Flat, &s.Target, nil})
	}
	if s := m.ContainerResource; s != nil {
		out = append(out, part{"containerResource", &s.V2beta2Flat, &s.Target, nil})
	}
	if s := m.External; s != nil {
		out = append(out, part{"external", &s.V2beta2Flat, &s.Target, &s.Metric})
	}
	return out
}

// mend corrects h and says each correction.
func mend(h *V2beta2) []string {
	var remarks []string
	for i := range h.Spec.Metrics {
		for _, p := range h.Spec.Metrics[i].parts() {
			remarks = append(remarks, p.mend(fmt.Sprintf("spec.metrics[%d].%s", i, p.name))...)
		}
	}
	return remarks
}

func (p part) mend(path string) []string {
	var remarks []string
	f, t := p.flat, p.target
	took := func(said, taken bool, from, to string) {
		switch {
		case taken:
			remarks = append(remarks, fmt.Sprintf("%s.%s: taken as %s.target.%s, which autoscaling/v2beta2 calls it", path, from, path, to))
		case said:
			remarks = append(remarks, fmt.Sprintf("unknown field %q", path+"."+from))
		}
	}
	took(f.TargetValue != nil, instead(&t.Value, f.TargetValue), "targetValue", "value")
	took(f.TargetAverageValue != nil, instead(&t.AverageValue, f.TargetAverageValue), "targetAverageValue", "averageValue")
	took(f.TargetAverageUtilization != nil, instead(&t.AverageUtilization, f.TargetAverageUtilization), "targetAverageUtilization", "averageUtilization")
	*f = V2beta2Flat{}
	if meant := t.meant(); meant != t.Type {
		if t.Type == "" {
			remarks = append(remarks, fmt.Sprintf("%s.target.type: missing; taken as %q", path, meant))
		} else {
			remarks = append(remarks, fmt.Sprintf("%s.target.type: %q is taken as %q", path, t.Type, meant))
		}
		t.Type = meant
	}
	if t.Kind != "" && t.Kind != string(t.Type) {
		remarks = append(remarks, fmt.Sprintf("unknown field %q", path+".target.kind"))
	}
	t.Kind = ""
	return remarks
}

// instead sets *to where only from says something.
func instead[T any](to **T, from *T) bool {
	if *to != nil || from == nil {
		return false
	}
	*to = from
	return true
}

// meant is the type of a target from what it says.
func (t *V2beta2Target) meant() autoscalingv2.MetricTargetType {
	switch said := cmp.Or(t.Type, autoscalingv2.MetricTargetType(t.Kind)); {
	case said == "AverageUtilization":
		return autoscalingv2.UtilizationMetricType
	case said == autoscalingv2.UtilizationMetricType, said == autoscalingv2.ValueMetricType, said == autoscalingv2.AverageValueMetricType:
		return said
	case t.Type != "":
		return t.Type // validation says what it thinks of it
	case t.AverageUtilization != nil:
		return autoscalingv2.UtilizationMetricType
	case t.AverageValue != nil:
		return autoscalingv2.AverageValueMetricType
	case t.Value != nil:
		return autoscalingv2.ValueMetricType
	}
	return ""
}

// mending lets v read what was meant.
func mending(v kinds.Version) kinds.Version {
	toHub := v.ToHub
	mended := func(in runtime.Object) (*V2beta2, []string) {
		h, ok := in.(*V2beta2)
		if !ok {
			return nil, nil
		}
		h = h.DeepCopyObject().(*V2beta2)
		return h, mend(h)
	}
	v.Remarks = func(in runtime.Object) []string {
		_, remarks := mended(in)
		return remarks
	}
	v.ToHub = func(in runtime.Object) (kinds.Object, error) {
		if h, remarks := mended(in); len(remarks) > 0 {
			in = h
		}
		return toHub(in)
	}
	return v
}
