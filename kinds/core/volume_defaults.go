package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const fileMode int32 = 0o644

func defaultVolume(v *v1.Volume) {
	if v.VolumeSource == (v1.VolumeSource{}) {
		v.EmptyDir = &v1.EmptyDirVolumeSource{}
		return
	}
	if v.Image != nil && v.Image.PullPolicy == "" {
		v.Image.PullPolicy = pullPolicy(v.Image.Reference)
	}
	defaultHostPath(v.HostPath)
	if v.Secret != nil {
		defaultMode(&v.Secret.DefaultMode)
	}
	if v.ConfigMap != nil {
		defaultMode(&v.ConfigMap.DefaultMode)
	}
	if v.DownwardAPI != nil {
		defaultMode(&v.DownwardAPI.DefaultMode)
		defaultDownwardFiles(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		defaultProjected(v.Projected)
	}
	if v.ISCSI != nil && v.ISCSI.ISCSIInterface == "" {
		v.ISCSI.ISCSIInterface = "default"
	}
	if v.RBD != nil {
		defaultRBD(&v.RBD.RBDPool, &v.RBD.RadosUser, &v.RBD.Keyring)
	}
	defaultAzureDisk(v.AzureDisk)
	if v.ScaleIO != nil {
		defaultScaleIO(&v.ScaleIO.StorageMode, &v.ScaleIO.FSType)
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		DefaultClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	}
}

func defaultMode(mode **int32) {
	if *mode == nil {
		*mode = ptr.To(fileMode)
	}
}

func defaultDownwardFiles(items []v1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

func defaultProjected(p *v1.ProjectedVolumeSource) {
	defaultMode(&p.DefaultMode)
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.DownwardAPI != nil {
			defaultDownwardFiles(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil && s.ServiceAccountToken.ExpirationSeconds == nil {
			s.ServiceAccountToken.ExpirationSeconds = ptr.To[int64](60 * 60)
		}
	}
}

func defaultHostPath(h *v1.HostPathVolumeSource) {
	if h != nil && h.Type == nil {
		h.Type = ptr.To(v1.HostPathUnset)
	}
}

func defaultRBD(pool, user, keyring *string) {
	setString(pool, "rbd")
	setString(user, "admin")
	setString(keyring, "/etc/ceph/keyring")
}

func defaultScaleIO(mode, fsType *string) {
	setString(mode, "ThinProvisioned")
	setString(fsType, "xfs")
}

func defaultAzureDisk(d *v1.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	if d.CachingMode == nil {
		d.CachingMode = ptr.To(v1.AzureDataDiskCachingReadWrite)
	}
	if d.FSType == nil {
		d.FSType = ptr.To("ext4")
	}
	if d.ReadOnly == nil {
		d.ReadOnly = ptr.To(false)
	}
	if d.Kind == nil {
		d.Kind = ptr.To(v1.AzureSharedBlobDisk)
	}
}

func setString(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// DefaultClaimSpec fills in the spec of a claim or of a claim template.
func DefaultClaimSpec(s *v1.PersistentVolumeClaimSpec) {
	if s.VolumeMode == nil {
		s.VolumeMode = ptr.To(v1.PersistentVolumeFilesystem)
	}
	roundResources(s.Resources.Limits)
	roundResources(s.Resources.Requests)
}
