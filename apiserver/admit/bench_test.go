package admit

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/apiserver/admission"
)

// BenchmarkPodCreate is what the whole chain adds to the creation of a pod.
func BenchmarkPodCreate(b *testing.B) {
	c := cluster{
		serviceAccounts: {&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "default"}}},
		namespaces:      {&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}},
	}
	chain := Default(Options{})
	for _, p := range chain {
		if n, ok := p.(admission.NeedsReader); ok {
			n.SetReader(c)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r := request(admission.Create, "pods", pod("p", v1.Container{Name: "a"}), nil)
		if err := chain.Mutate(context.Background(), r); err != nil {
			b.Fatal(err)
		}
		if err := chain.Validate(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}
