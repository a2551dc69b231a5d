package core

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
)

func plainPod() *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "nginx:1.27"}}},
	}
}

// BenchmarkPod defaults, prepares and judges a pod of one container.
func BenchmarkPod(b *testing.B) {
	k := kindOf("Pod")
	b.ReportAllocs()
	for b.Loop() {
		p := plainPod()
		k.Default(p)
		k.PrepareCreate(p)
		if errs := k.Validate(p); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkPodStatus judges a write of a pod's status.
func BenchmarkPodStatus(b *testing.B) {
	k := kindOf("Pod")
	old := plainPod()
	k.Default(old)
	s := k.Subresources["status"]
	b.ReportAllocs()
	for b.Loop() {
		p := old.DeepCopy()
		p.ResourceVersion = "1"
		p.Status.Phase = v1.PodRunning
		s.PrepareUpdate(p, old)
		if errs := s.ValidateUpdate(p, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func kindOf(name string) *kinds.Kind {
	for _, k := range Kinds() {
		if k.Kind == name {
			return k
		}
	}
	panic("no kind " + name)
}
