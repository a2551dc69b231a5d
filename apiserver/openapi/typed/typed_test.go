package typed

import (
	"bytes"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
)

func samples() []runtime.Object {
	meta := metav1.ObjectMeta{Name: "x", Namespace: "ns", Labels: map[string]string{"a": "b"}, Finalizers: []string{"f/f"}, OwnerReferences: []metav1.OwnerReference{{UID: "u", Name: "o"}}}
	spec := v1.PodSpec{
		Containers: []v1.Container{{Name: "c", Ports: []v1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 80, Protocol: "UDP"}}, Env: []v1.EnvVar{{Name: "e", Value: "v"}},
			VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/v"}}, Resources: v1.ResourceRequirements{Limits: v1.ResourceList{"cpu": resource.MustParse("1")}}}},
		Tolerations: []v1.Toleration{{Key: "k"}}, NodeSelector: map[string]string{"n": "m"}, ImagePullSecrets: []v1.LocalObjectReference{{Name: "p"}},
		TopologySpreadConstraints: []v1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "z", WhenUnsatisfiable: "DoNotSchedule"}},
	}
	typeOf := func(version, kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: version, Kind: kind} }
	return []runtime.Object{
		&v1.Pod{TypeMeta: typeOf("v1", "Pod"), ObjectMeta: meta, Spec: spec, Status: v1.PodStatus{Conditions: []v1.PodCondition{{Type: "Ready"}}, PodIPs: []v1.PodIP{{IP: "1.2.3.4"}}}},
		&appsv1.Deployment{TypeMeta: typeOf("apps/v1", "Deployment"), ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: v1.PodTemplateSpec{ObjectMeta: meta, Spec: spec}}},
		&v1.Service{TypeMeta: typeOf("v1", "Service"), ObjectMeta: meta, Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Port: 1}, {Port: 1, Protocol: "UDP"}}, Selector: map[string]string{"a": "b"}}},
		&v1.ConfigMap{TypeMeta: typeOf("v1", "ConfigMap"), ObjectMeta: meta, Data: map[string]string{"k": "v"}},
		&networkingv1.Ingress{TypeMeta: typeOf("networking.k8s.io/v1", "Ingress"), ObjectMeta: meta, Spec: networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{Hosts: []string{"h"}}}, Rules: []networkingv1.IngressRule{{Host: "h"}}}},
	}
}

// TestSameFields compares with the types that client-go's apply configurations have.
func TestSameFields(t *testing.T) {
	mine, err := Converter(scheme.Scheme)
	if err != nil {
		t.Fatal(err)
	}
	theirs := applyconfigurations.NewTypeConverter(scheme.Scheme)
	for _, o := range samples() {
		a, err := mine.ObjectToTyped(o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := theirs.ObjectToTyped(o)
		if err != nil {
			t.Fatal(err)
		}
		x, err := a.ToFieldSet()
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.ToFieldSet()
		if err != nil {
			t.Fatal(err)
		}
		if !x.Equals(y) {
			t.Errorf("%s:\nonly here  %v\nonly there %v", o.GetObjectKind().GroupVersionKind(), x.Difference(y), y.Difference(x))
		}
	}
}

func TestEncodeDecode(t *testing.T) {
	types, err := Decode(compressed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(types)
	if err != nil || !bytes.Equal(again, compressed) {
		t.Errorf("%d types do not come back as they were: %v", len(types), err)
	}
}

func BenchmarkConverter(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Converter(scheme.Scheme); err != nil {
			b.Fatal(err)
		}
	}
}
