package all

import (
	"encoding/json"
	"fmt"
	"sort"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	networkingv1 "k8s.io/api/networking/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"
)

// hubFiller makes hub objects that validation would take: of two ways to say a thing
// there is one, and nothing is there that says nothing.
func hubFiller(seed int64) *randfill.Filler {
	target := func(may ...autoscalingv2.MetricTargetType) func(*autoscalingv2.MetricTarget, randfill.Continue) {
		return func(t *autoscalingv2.MetricTarget, c randfill.Continue) {
			switch *t = (autoscalingv2.MetricTarget{Type: may[c.Intn(len(may))]}); t.Type {
			case autoscalingv2.UtilizationMetricType:
				t.AverageUtilization = ptr.To(c.Int31() + 1)
			case autoscalingv2.AverageValueMetricType:
				t.AverageValue = resource.NewQuantity(int64(c.Int31()), resource.DecimalSI)
			default:
				t.Value = resource.NewQuantity(int64(c.Int31()), resource.DecimalSI)
			}
		}
	}
	ofResource := target(autoscalingv2.UtilizationMetricType, autoscalingv2.AverageValueMetricType)
	ofOthers := target(autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType)
	ofPods := target(autoscalingv2.AverageValueMetricType)
	return filler(seed).Funcs(
		func(s *autoscalingv2.ResourceMetricSource, c randfill.Continue) {
			c.FillNoCustom(s)
			s.Name = "memory" // autoscaling/v1 knows one target for all of cpu
			ofResource(&s.Target, c)
		},
		func(s *autoscalingv2.ContainerResourceMetricSource, c randfill.Continue) {
			c.FillNoCustom(s)
			ofResource(&s.Target, c)
		},
		func(s *autoscalingv2.PodsMetricSource, c randfill.Continue) { c.FillNoCustom(s); ofPods(&s.Target, c) },
		func(s *autoscalingv2.ObjectMetricSource, c randfill.Continue) {
			c.FillNoCustom(s)
			ofOthers(&s.Target, c)
		},
		func(s *autoscalingv2.ExternalMetricSource, c randfill.Continue) {
			c.FillNoCustom(s)
			ofOthers(&s.Target, c)
		},
		func(s *autoscalingv2.HorizontalPodAutoscalerBehavior, c randfill.Continue) {
			c.FillNoCustom(s)
			s.ScaleUp = &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To(c.Int31())}
		},
		func(s *resourcev1.ResourceSliceSpec, c randfill.Continue) {
			c.FillNoCustom(s)
			s.NodeName, s.AllNodes = ptr.To("n"+c.String(4)), nil
		},
		func(p *networkingv1.ServiceBackendPort, c randfill.Continue) {
			*p = networkingv1.ServiceBackendPort{Number: c.Int31() + 1}
			if c.Bool() {
				*p = networkingv1.ServiceBackendPort{Name: "n" + c.String(4)}
			}
		},
		func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			s.Type, s.Description = "object", c.String(4)
		},
		func(s *apiextensionsv1.CustomResourceValidation, c randfill.Continue) {
			c.FillNoCustom(s)
			s.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", Description: c.String(4)}
		},
		func(s *apiextensionsv1.CustomResourceDefinitionSpec, c randfill.Continue) {
			c.FillNoCustom(s)
			s.PreserveUnknownFields = false
			for i := range s.Versions {
				s.Versions[i].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Description: c.String(4)}}
			}
			if s.Conversion != nil && s.Conversion.Webhook != nil {
				s.Conversion.Webhook.ConversionReviewVersions = []string{"v1"}
			}
		},
	)
}

// unsaid are the parts of hub objects that an old form has neither a field nor an
// annotation for.
var unsaid = map[string]map[string]bool{
	// The fields of v2beta1's statuses hold one number each.
	"autoscaling/v1":      {".status.currentMetrics[].containerResource.current.value": true, ".status.currentMetrics[].external.current.averageUtilization": true, ".status.currentMetrics[].object.current.averageUtilization": true, ".status.currentMetrics[].pods.current.averageUtilization": true, ".status.currentMetrics[].pods.current.value": true, ".status.currentMetrics[].resource.current.value": true},
	"autoscaling/v2beta1": {".status.currentMetrics[].containerResource.current.value": true, ".status.currentMetrics[].external.current.averageUtilization": true, ".status.currentMetrics[].object.current.averageUtilization": true, ".status.currentMetrics[].pods.current.averageUtilization": true, ".status.currentMetrics[].pods.current.value": true, ".status.currentMetrics[].resource.current.value": true},
}

// lostPaths collects where b differs from a, indices of lists left out.
func lostPaths(at string, a, b any, into map[string]string) {
	am, aIs := a.(map[string]any)
	bm, bIs := b.(map[string]any)
	if aIs && bIs {
		for k := range am {
			lostPaths(at+"."+k, am[k], bm[k], into)
		}
		for k := range bm {
			if _, ok := am[k]; !ok {
				into[at+"."+k] = fmt.Sprintf("%v came", bm[k])
			}
		}
		return
	}
	al, aIs := a.([]any)
	bl, bIs := b.([]any)
	if aIs && bIs && len(al) == len(bl) {
		for i := range al {
			lostPaths(at+"[]", al[i], bl[i], into)
		}
		return
	}
	if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
		into[at] = x + " became " + y
	}
}

// TestHubSurvivesOldForms converts random hub objects to every old form and back, as
// a client does that reads an object through an old version and writes it again:
// what is lost has to be in unsaid, and what is there has to be lost.
func TestHubSurvivesOldForms(t *testing.T) {
	for _, k := range Table().All() {
		for _, v := range k.Served {
			if v.New == nil {
				continue
			}
			t.Run(v.Group+"/"+v.Version+"/"+k.Kind, func(t *testing.T) {
				lost := map[string]string{}
				for seed := range int64(60) {
					want := k.New()
					hubFiller(seed).Fill(want)
					before := marshal(t, want)
					old, err := v.FromHub(want)
					if err != nil {
						t.Fatal(err)
					}
					if marshal(t, want) != before {
						t.Fatalf("FromHub changed its input")
					}
					have, err := v.ToHub(old)
					if err != nil {
						t.Fatal(err)
					}
					lostPaths("", unmarshal(t, before), unmarshal(t, marshal(t, have)), lost)
				}
				may := unsaid[v.Group+"/"+v.Version]
				var list []string
				for p := range lost {
					if !may[p] {
						list = append(list, p+": "+lost[p])
					}
				}
				sort.Strings(list)
				for _, p := range list {
					t.Error("lost", p)
				}
				for p := range may {
					if _, ok := lost[p]; !ok {
						t.Error("not lost:", p)
					}
				}
			})
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func unmarshal(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
