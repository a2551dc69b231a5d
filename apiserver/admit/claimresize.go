package admit

import (
	"context"
	"errors"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"skiff.dev/skiff/apiserver/admission"
)

// ClaimResize lets a claim grow only once it is bound, and only where its storage
// class allows it (plugin/pkg/admission/storage/persistentvolume/resize in
// Kubernetes).
type ClaimResize struct{ reader }

// Name implements admission.Plugin.
func (*ClaimResize) Name() string { return "PersistentVolumeClaimResize" }

// Validate implements admission.Validator.
func (c *ClaimResize) Validate(_ context.Context, r *admission.Request) error {
	if !is(r, "", "persistentvolumeclaims", admission.Update) {
		return nil
	}
	pvc, ok := r.Object.(*v1.PersistentVolumeClaim)
	old, was := r.Old.(*v1.PersistentVolumeClaim)
	if !ok || !was {
		return nil
	}
	size, had := pvc.Spec.Resources.Requests[v1.ResourceStorage], old.Spec.Resources.Requests[v1.ResourceStorage]
	switch {
	case size.Cmp(had) <= 0:
		return nil
	case old.Status.Phase != v1.ClaimBound:
		return forbid(r, errUnbound)
	case !c.expands(volume.GetPersistentVolumeClaimClass(pvc), volume.GetPersistentVolumeClaimClass(old)):
		return forbid(r, errFixedSize)
	}
	return nil
}

var (
	//lint:ignore ST1005 Kubernetes' words
	errUnbound   = errors.New("Only bound persistent volume claims can be expanded")
	errFixedSize = errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
)

// expands tells whether claims of the class, which must not change, may grow.
func (c *ClaimResize) expands(class, old string) bool {
	if class == "" || class != old {
		return false
	}
	sc, ok := find[*storagev1.StorageClass](c, storageClasses, "", class)
	return ok && sc.AllowVolumeExpansion != nil && *sc.AllowVolumeExpansion
}
