package pvprotection

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

func TestVolumeStaysWhileBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		pv := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv", Finalizers: []string{finalizer}},
			Status:     corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		}
		w.Create(pv)
		w.Delete(pv)
		w.Settle()
		w.Get(pv)
		looptest.UpdateStatus(w, pv, func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeReleased })
		w.Settle()
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(pv), pv); !apierrors.IsNotFound(err) {
			t.Fatalf("the volume outlived its claim: %v", err)
		}
	})
}
