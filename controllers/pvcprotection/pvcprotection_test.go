package pvcprotection

import (
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func TestClaimStaysWhileAPodUsesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data"}}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
			Spec: corev1.PodSpec{NodeName: "node-1", Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}},
		}
		w.Create(claim, pod)
		w.Settle()
		w.Get(claim)
		if !loop.HasFinalizer(claim, finalizer) {
			t.Fatal("a claim without the finalizer did not get it")
		}
		w.Delete(claim)
		w.Settle()
		w.Get(claim)
		if claim.DeletionTimestamp == nil {
			t.Fatal("the claim is not being deleted")
		}
		w.Delete(pod, crclient.GracePeriodSeconds(0))
		w.Settle()
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(claim), claim); !apierrors.IsNotFound(err) {
			t.Fatalf("the claim outlived its last pod: %v", err)
		}
	})
}

func TestUses(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "p-v"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "1"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}}}
	if uses(pod, claim) {
		t.Error("a pod without a node uses nothing")
	}
	pod.Spec.NodeName = "n"
	if uses(pod, claim) {
		t.Error("the claim is somebody else's")
	}
	yes, zero := true, int64(0)
	claim.OwnerReferences = []metav1.OwnerReference{{UID: "1", Controller: &yes}}
	if !uses(pod, claim) {
		t.Error("a generated claim is in use")
	}
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{}, &zero
	if uses(pod, claim) {
		t.Error("a generated claim is free once its pod has stopped")
	}
}
