package admit

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/apiserver/admission"
)

func cpu(s string) v1.ResourceList {
	return v1.ResourceList{v1.ResourceCPU: resource.MustParse(s)}
}

func TestRuntimeClass(t *testing.T) {
	toleration := v1.Toleration{Key: "sandbox", Operator: v1.TolerationOpExists}
	c := cluster{runtimeClasses: {&nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "sandboxed"},
		Overhead:   &nodev1.Overhead{PodFixed: cpu("100m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"kind": "sandbox"}, Tolerations: []v1.Toleration{toleration}},
	}}}
	of := func(class string) *v1.Pod {
		p := pod("p")
		p.Spec.RuntimeClassName = &class
		return p
	}
	p := of("sandboxed")
	p.Spec.Tolerations = []v1.Toleration{toleration}
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &RuntimeClass{}), "")
	if p.Spec.Overhead.Cpu().String() != "100m" || p.Spec.NodeSelector["kind"] != "sandbox" || len(p.Spec.Tolerations) != 1 {
		t.Errorf("%+v", p.Spec)
	}
	expect(t, run(t, c, request(admission.Create, "pods", of("absent"), nil), &RuntimeClass{}),
		`pods "p" is forbidden: pod rejected: RuntimeClass "absent" not found`)
	p = of("sandboxed")
	p.Spec.Overhead = cpu("1")
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &RuntimeClass{}),
		`pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead`)
	p = pod("p")
	p.Spec.Overhead = cpu("1")
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &RuntimeClass{}),
		`pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`)
	p = of("sandboxed")
	p.Spec.NodeSelector = map[string]string{"kind": "plain"}
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &RuntimeClass{}),
		`pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[kind] = sandbox; pod.spec.nodeSelector[kind] = plain`)
}

func TestPodResize(t *testing.T) {
	c := cluster{nodes: {
		&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: v1.NodeStatus{Allocatable: cpu("1")}},
		&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "w", Labels: map[string]string{v1.LabelOSStable: "windows"}}},
	}}
	resize := func(node, want string) error {
		old := pod("p", v1.Container{Name: "a", Resources: v1.ResourceRequirements{Requests: cpu("1")}})
		old.Spec.NodeName = node
		p := old.DeepCopy()
		p.Generation++
		p.Spec.Containers[0].Resources.Requests = cpu(want)
		r := request(admission.Update, "pods", p, old)
		r.Subresource = "resize"
		return run(t, c, r, &PodResize{})
	}
	expect(t, resize("n", "500m"), "")
	expect(t, resize("", "5"), "")
	expect(t, resize("n", "2"), `pods "p" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000`)
	expect(t, resize("w", "500m"), `pods "p" is forbidden: pod resize is only supported on linux nodes, node "w" is "windows"`)
	expect(t, resize("gone", "500m"), `pods "p" is forbidden: node "gone" not found`)
}

func TestInUseProtection(t *testing.T) {
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", Finalizers: []string{"mine"}}}
	for range 2 {
		expect(t, run(t, nil, request(admission.Create, "persistentvolumeclaims", claim, nil), InUseProtection{}), "")
	}
	if !slices.Equal(claim.Finalizers, []string{"mine", pvcProtection}) {
		t.Error(claim.Finalizers)
	}
}
