package codec

import (
	"encoding/json"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// patched is a pod with some of all that strategic merge patches treat differently.
func patched() *corev1.Pod {
	p := pod()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.CreationTimestamp = metav1.Unix(1_700_000_000, 0)
	p.Finalizers = []string{"example.com/a", "example.com/b"}
	root, grace := true, int64(30)
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &root}
	p.Spec.TerminationGracePeriodSeconds = &grace
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http")}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1_700_000_000, 0)}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}}
	return p
}

var strategicPatches = []string{
	`{}`, `{"status":{}}`, `{"status":null}`, `{"spec":null}`, `{"metadata":{"labels":null}}`, `{"metadata":{"labels":{"a":null,"c":"d"}}}`,
	`{"metadata":{"finalizers":["example.com/c"]}}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/a"]}}`,
	`{"status":{"conditions":[{"type":"Ready","status":"False","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
	`{"status":{"conditions":[{"type":"Ready","$patch":"delete"}],"phase":"Failed","podIP":"10.0.0.2","podIPs":[{"ip":"10.0.0.2"}]}}`,
	`{"status":{"$setElementOrder/conditions":[{"type":"PodScheduled"},{"type":"Ready"}],"conditions":[{"type":"Ready","status":"False"}]}}`,
	`{"spec":{"containers":[{"name":"c","image":"j","resources":{"limits":{"cpu":"2","memory":"1Gi"}}},{"name":"d","image":"k"}]}}`,
	`{"spec":{"containers":[{"name":"c","livenessProbe":{"httpGet":{"port":80}}}]}}`,
	`{"spec":{"securityContext":{"runAsUser":1,"runAsNonRoot":null},"terminationGracePeriodSeconds":null,"nodeSelector":{"a":"b"}}}`,
	`{"spec":{"affinity":{"nodeAffinity":{}},"volumes":[{"$patch":"replace"},{"name":"w","emptyDir":{}}]}}`,
	`{"spec":{"$patch":"replace","containers":[{"name":"x","image":"y"}]}}`, `{"metadata":{"creationTimestamp":null}}`,
	`{"unknown":1}`, `{"spec":{"unknown":1}}`, `{"spec":{"containers":[{"name":"c","unknown":1}]}}`, `{"spec":{"containers":3}}`, `{"status":{"phase":[]}}`, `{"spec":[]}`,
	`{"status":{"conditions":[{"type":"Ready","$patch":"delete"}],"phase":{}}}`, `{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}}`,
}

// sameStrategic holds that member by member a patch does what it does to the whole.
func sameStrategic(t *testing.T, patch []byte) {
	t.Helper()
	for _, s := range []Strict{Ignore, Report} {
		whole, narrow, old := &corev1.Pod{}, &corev1.Pod{}, patched()
		strict1, shown1, err1 := wholeStrategicPatch(old, patch, whole, s)
		strict2, shown2, err2 := StrategicPatch(old, patch, narrow, s)
		if !apiequality.Semantic.DeepEqual(old, patched()) {
			t.Fatalf("%s: the old object was changed", patch)
		}
		text := func(err error) string {
			if err == nil {
				return ""
			}
			return err.Error()
		}
		if text(err1) != text(err2) || len(strict1) != len(strict2) {
			t.Errorf("%s: %v, %v; as a whole %v, %v", patch, err2, strict2, err1, strict1)
		}
		if err1 != nil || err2 != nil {
			continue
		}
		if len(strict1) > 0 && (!reflect.DeepEqual(strict1, strict2) || shown1 != shown2) {
			t.Errorf("%s: %v of %s; as a whole %v of %s", patch, strict2, shown2, strict1, shown1)
		}
		a, _ := json.Marshal(whole)
		if b, _ := json.Marshal(narrow); string(a) != string(b) {
			t.Errorf("%s:\n%s; as a whole\n%s", patch, b, a)
		}
	}
}

func TestStrategicPatchByMembers(t *testing.T) {
	for _, p := range strategicPatches {
		sameStrategic(t, []byte(p))
	}
	into := &corev1.Pod{}
	if !narrow(reflect.ValueOf(into).Elem(), map[string]any{"status": map[string]any{"podIP": "10.0.0.3"}}) || into.Status.PodIP != "10.0.0.3" {
		t.Error("a simple patch goes over the whole object")
	}
}

func FuzzStrategicPatch(f *testing.F) {
	for _, p := range strategicPatches {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, patch []byte) { sameStrategic(t, patch) })
}
