package row

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestScale(t *testing.T) {
	s := Scale(func(d *appsv1.Deployment) Scaled {
		return Scaled{Want: &d.Spec.Replicas, Have: d.Status.Replicas, Selector: d.Spec.Selector}
	})
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u", ResourceVersion: "7"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     appsv1.DeploymentStatus{Replicas: 1},
	}
	view, err := s.Get(d)
	if err != nil {
		t.Fatal(err)
	}
	scale := view.(*autoscalingv1.Scale)
	if scale.Name != "web" || scale.Spec.Replicas != 2 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=web" || scale.ResourceVersion != "7" {
		t.Errorf("the view is %+v", scale)
	}
	scale.Spec.Replicas, scale.ResourceVersion = 5, "6"
	out, err := s.Set(d, scale)
	if err != nil {
		t.Fatal(err)
	}
	if n := *out.(*appsv1.Deployment).Spec.Replicas; n != 5 || out.GetResourceVersion() != "6" || *d.Spec.Replicas != 2 {
		t.Errorf("%d replicas at %s; the parent was changed to %d", n, out.GetResourceVersion(), *d.Spec.Replicas)
	}
	scale.Spec.Replicas = -1
	if _, err := s.Set(d, scale); !apierrors.IsInvalid(err) {
		t.Errorf("a scale below zero gives %v", err)
	}
}
