package admit

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"skiff.dev/skiff/apiserver/admission"
)

// InUseProtection gives volumes, claims and classes of attributes the finalizers
// that keep them while something uses them. Controllers take them off again.
type InUseProtection struct{}

// The finalizers, as pkg/volume/util in Kubernetes names them.
const (
	pvProtection  = "kubernetes.io/pv-protection"
	pvcProtection = "kubernetes.io/pvc-protection"
	vacProtection = "kubernetes.io/vac-protection"
)

// Name implements admission.Plugin.
func (InUseProtection) Name() string { return "StorageObjectInUseProtection" }

// Admit implements admission.Mutator.
func (InUseProtection) Admit(_ context.Context, r *admission.Request) error {
	if r.Operation != admission.Create || r.Subresource != "" {
		return nil
	}
	finalizer := ""
	switch r.Object.(type) {
	case *v1.PersistentVolume:
		finalizer = pvProtection
	case *v1.PersistentVolumeClaim:
		finalizer = pvcProtection
	case *storagev1.VolumeAttributesClass:
		finalizer = vacProtection
	default:
		return nil
	}
	if have := r.Object.GetFinalizers(); !slices.Contains(have, finalizer) {
		r.Object.SetFinalizers(append(slices.Clip(have), finalizer))
	}
	return nil
}
