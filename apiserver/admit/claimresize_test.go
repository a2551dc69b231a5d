package admit

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

func TestClaimResize(t *testing.T) {
	c := cluster{storageClasses: {
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}, AllowVolumeExpansion: ptr.To(true)},
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fixed"}},
	}}
	claim := func(class, size string, phase v1.PersistentVolumeClaimPhase) kinds.Object {
		return &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"},
			Spec: v1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: v1.VolumeResourceRequirements{
				Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)},
			}},
			Status: v1.PersistentVolumeClaimStatus{Phase: phase},
		}
	}
	const prefix, fixed = `persistentvolumeclaims "c" is forbidden: `, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
	for _, x := range []struct {
		name     string
		old, obj kinds.Object
		want     string
	}{
		{"grows", claim("grows", "1Gi", v1.ClaimBound), claim("grows", "2Gi", v1.ClaimBound), ""},
		{"same", claim("fixed", "1Gi", v1.ClaimPending), claim("fixed", "1Gi", v1.ClaimPending), ""},
		{"shrinks: validation's business", claim("fixed", "2Gi", v1.ClaimBound), claim("fixed", "1Gi", v1.ClaimBound), ""},
		{"unbound", claim("grows", "1Gi", v1.ClaimPending), claim("grows", "2Gi", v1.ClaimPending), prefix + "Only bound persistent volume claims can be expanded"},
		{"fixed", claim("fixed", "1Gi", v1.ClaimBound), claim("fixed", "2Gi", v1.ClaimBound), prefix + fixed},
		{"no class", claim("", "1Gi", v1.ClaimBound), claim("", "2Gi", v1.ClaimBound), prefix + fixed},
		{"class is gone", claim("gone", "1Gi", v1.ClaimBound), claim("gone", "2Gi", v1.ClaimBound), prefix + fixed},
		{"another class", claim("fixed", "1Gi", v1.ClaimBound), claim("grows", "2Gi", v1.ClaimBound), prefix + fixed},
	} {
		t.Run(x.name, func(t *testing.T) {
			expect(t, run(t, c, request(admission.Update, "persistentvolumeclaims", x.obj, x.old), &ClaimResize{}), x.want)
		})
	}
}
