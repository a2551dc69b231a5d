package all

import (
	"encoding/json"
	"math/rand"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"

	"skiff.dev/skiff/kinds/autoscaling"
)

// filler makes objects that a client could send: what has one meaning and two
// spellings gets one of them.
func filler(seed int64) *randfill.Filler {
	return randfill.New().RandSource(rand.NewSource(seed)).NilChance(.4).NumElements(1, 3).MaxDepth(14).Funcs(
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(int64(c.Int31()), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) { t.Time = time.UnixMicro(int64(c.Int31())) },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(int64(c.Int31())+1, resource.DecimalSI)
		},
		func(t *metav1.TypeMeta, _ randfill.Continue) {},
		func(m *metav1.ObjectMeta, c randfill.Continue) {
			c.FillNoCustom(m)
			m.Annotations = map[string]string{"a": c.String(5)}
			m.ManagedFields = nil
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			if *v = intstr.FromInt32(c.Int31() + 1); c.Bool() {
				*v = intstr.FromString("p" + c.String(3))
			}
		},
		func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"a":"b"}`) },
		func(j *apiextensionsv1beta1.JSON, _ randfill.Continue) { j.Raw = []byte(`{"a":"b"}`) },
		func(s *apiextensionsv1beta1.JSONSchemaProps, c randfill.Continue) {
			s.Type, s.Description, s.Enum = "object", c.String(4), []apiextensionsv1beta1.JSON{{Raw: []byte(`1`)}}
			s.Properties = map[string]apiextensionsv1beta1.JSONSchemaProps{"x": {Type: "array", Items: &apiextensionsv1beta1.JSONSchemaPropsOrArray{
				Schema: &apiextensionsv1beta1.JSONSchemaProps{Type: "string", MaxLength: ptr.To(c.Int63())}}}}
		},
		fillDefinition,
		func(h *networkingv1beta1.IngressBackend, c randfill.Continue) { c.FillNoCustom(h); h.ServiceName = "s" },
		func(h *extensionsv1beta1.IngressBackend, c randfill.Continue) { c.FillNoCustom(h); h.ServiceName = "s" },
		func(e *discoveryv1beta1.Endpoint, c randfill.Continue) {
			c.FillNoCustom(e)
			e.Topology = map[string]string{"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "h", "rack": "r"}
		},
		func(w *admissionv1beta1.MutatingWebhook, c randfill.Continue) {
			c.FillNoCustom(w)
			w.SideEffects = ptr.To(admissionv1beta1.SideEffectClassNone)
		},
		func(w *admissionv1beta1.ValidatingWebhook, c randfill.Continue) {
			c.FillNoCustom(w)
			w.SideEffects = ptr.To(admissionv1beta1.SideEffectClassNone)
		},
		func(m *autoscalingv1.MetricSpec, c randfill.Continue) {
			m.Type, m.Resource = autoscalingv1.ResourceMetricSourceType, &autoscalingv1.ResourceMetricSource{Name: "memory", TargetAverageValue: resource.NewQuantity(3, resource.DecimalSI)}
		},
		func(h *autoscalingv1.HorizontalPodAutoscalerStatus, c randfill.Continue) {
			h.DesiredReplicas, h.CurrentReplicas = c.Int31(), c.Int31()
		},
		func(m *autoscaling.V2beta2Flat, c randfill.Continue) {},
		func(t *autoscaling.V2beta2Target, c randfill.Continue) {
			c.FillNoCustom(t)
			t.Kind, t.Type = "", autoscalingv2.UtilizationMetricType
		},
		func(r *certificatesv1beta1.CertificateSigningRequestSpec, c randfill.Continue) {
			c.FillNoCustom(r)
			r.SignerName = ptr.To("example.com/signer")
		},
		func(d *extensionsv1beta1.DaemonSetSpec, c randfill.Continue) {
			c.FillNoCustom(d)
			d.TemplateGeneration = 3
		},
		func(d *extensionsv1beta1.ScaleStatus, c randfill.Continue) {},
		func(d *appsv1beta1.ScaleStatus, c randfill.Continue) {},
		func(d *resourcev1beta1.Device, c randfill.Continue) {
			c.FillNoCustom(d)
			if d.Basic == nil {
				d.Basic = &resourcev1beta1.BasicDevice{}
			}
		},
		func(d *policyv1beta1.PodDisruptionBudgetSpec, c randfill.Continue) {
			c.FillNoCustom(d)
			d.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}
		},
	)
}

// fillDefinition says everything once, as v1beta1 does when versions agree.
func fillDefinition(s *apiextensionsv1beta1.CustomResourceDefinitionSpec, c randfill.Continue) {
	c.FillNoCustom(s)
	s.Versions = []apiextensionsv1beta1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}, {Name: "v2", Served: true}}
	s.Version, s.PreserveUnknownFields = "v1", nil
	s.Conversion = &apiextensionsv1beta1.CustomResourceConversion{
		Strategy: "Webhook", ConversionReviewVersions: []string{"v1"},
		WebhookClientConfig: &apiextensionsv1beta1.WebhookClientConfig{URL: ptr.To("https://x")},
	}
}

// TestOldFormsSurvive converts random objects of every old form to the hub and back:
// nothing that the form can say may be lost.
func TestOldFormsSurvive(t *testing.T) {
	for _, k := range Table().All() {
		for _, v := range k.Served {
			if v.New == nil {
				continue
			}
			t.Run(v.Group+"/"+v.Version+"/"+k.Kind, func(t *testing.T) {
				for seed := range int64(60) {
					want := v.New()
					filler(seed).Fill(want)
					if h, ok := want.(*autoscaling.V2beta1); ok {
						h.Status.CurrentMetrics = nil
					}
					before, _ := json.Marshal(want)
					hub, err := v.ToHub(want)
					if err != nil {
						t.Fatal(err)
					}
					if after, _ := json.Marshal(want); string(after) != string(before) {
						t.Fatalf("ToHub changed its input")
					}
					have, err := v.FromHub(hub)
					if err != nil {
						t.Fatal(err)
					}
					if !equality.Semantic.DeepEqual(want, have) {
						now, _ := json.Marshal(have)
						t.Fatalf("seed %d: lost something: had\n%s\nhave\n%s", seed, before, now)
					}
				}
			})
		}
	}
}

// TestDeprecation checks wordings that clients know.
func TestDeprecation(t *testing.T) {
	want := map[string]string{
		"apps/v1beta2 Deployment":                               "apps/v1beta2 Deployment is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 Deployment",
		"extensions/v1beta1 Deployment":                         "extensions/v1beta1 Deployment is deprecated in v1.8+, unavailable in v1.16+; use apps/v1 Deployment",
		"extensions/v1beta1 Ingress":                            "extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress",
		"autoscaling/v2beta2 HorizontalPodAutoscaler":           "autoscaling/v2beta2 HorizontalPodAutoscaler is deprecated in v1.23+, unavailable in v1.26+; use autoscaling/v2 HorizontalPodAutoscaler",
		"policy/v1beta1 PodDisruptionBudget":                    "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; use policy/v1 PodDisruptionBudget",
		"batch/v1beta1 CronJob":                                 "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
		"rbac.authorization.k8s.io/v1beta1 Role":                "rbac.authorization.k8s.io/v1beta1 Role is deprecated in v1.17+, unavailable in v1.22+; use rbac.authorization.k8s.io/v1 Role",
		"apiextensions.k8s.io/v1beta1 CustomResourceDefinition": "apiextensions.k8s.io/v1beta1 CustomResourceDefinition is deprecated in v1.16+, unavailable in v1.22+; use apiextensions.k8s.io/v1 CustomResourceDefinition",
	}
	seen := 0
	for _, k := range Table().All() {
		for _, v := range k.Served {
			name := v.Group + "/" + v.Version + " " + k.Kind
			if v.Old && (v.Deprecated == "" || !strings.HasPrefix(v.Deprecated, name+" is deprecated in v1.")) {
				t.Errorf("%s warns %q", name, v.Deprecated)
			}
			if text, ok := want[name]; ok {
				seen++
				if v.Deprecated != text {
					t.Errorf("%s warns %q, want %q", name, v.Deprecated, text)
				}
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d forms found", seen, len(want))
	}
}
