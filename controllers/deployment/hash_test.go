package deployment

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// TestKnownHashes holds hashes that Kubernetes 1.36's controllers give
// (pkg/controller, ComputeHash), so that ReplicaSets of old clusters are known again.
func TestKnownHashes(t *testing.T) {
	web := &corev1.PodTemplateSpec{}
	web.Labels = map[string]string{"app": "web", "tier": "front"}
	web.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: ptr.To[int64](30), DNSPolicy: corev1.DNSClusterFirst,
		SecurityContext: &corev1.PodSecurityContext{}, SchedulerName: "default-scheduler",
		Containers: []corev1.Container{{
			Name: "web", Image: "nginx:1", ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log",
			TerminationMessagePolicy: corev1.TerminationMessageReadFile, Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
		}},
	}
	for _, tc := range []struct {
		template   *corev1.PodTemplateSpec
		collisions *int32
		want       string
	}{
		{&corev1.PodTemplateSpec{}, nil, "85748b7f68"},
		{&corev1.PodTemplateSpec{}, ptr.To[int32](0), "777dfcd544"},
		{&corev1.PodTemplateSpec{}, ptr.To[int32](1), "b54bc767c"},
		{web, nil, "7757476656"},
		{web, ptr.To[int32](0), "85686fcdcb"},
		{web, ptr.To[int32](1), "57f9ff7457"},
	} {
		if have := templateHash(tc.template, tc.collisions); have != tc.want {
			t.Errorf("collisions %v: %s, want %s", tc.collisions, have, tc.want)
		}
	}
}
