package node

import (
	v1 "k8s.io/api/core/v1"
)

// mirror pods are made by the node itself: they lead nowhere, or a node could give
// itself whatever it wanted.
func mirror(p *v1.Pod) bool {
	_, is := p.Annotations[v1.MirrorPodAnnotationKey]
	return is
}

// refers tells whether the pod names an object of its own namespace.
func refers(p *v1.Pod, r relation, name string) bool {
	if mirror(p) {
		return false
	}
	switch r {
	case toServiceAccount:
		return p.Spec.ServiceAccountName == name
	case toSecret:
		return usesSecret(p, name)
	case toConfigMap:
		return usesConfigMap(p, name)
	case toClaim:
		for i := range p.Spec.Volumes {
			if claimOf(p, &p.Spec.Volumes[i]) == name {
				return true
			}
		}
	case toResourceClaim:
		return usesResourceClaim(p, name)
	}
	return false
}

// claimOf is the name of the claim behind a volume, "" if there is none.
func claimOf(p *v1.Pod, v *v1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

func usesResourceClaim(p *v1.Pod, name string) bool {
	for _, c := range p.Spec.ResourceClaims {
		if c.ResourceClaimName != nil && *c.ResourceClaimName == name {
			return true
		}
	}
	for _, c := range p.Status.ResourceClaimStatuses {
		if c.ResourceClaimName != nil && *c.ResourceClaimName == name {
			return true
		}
	}
	s := p.Status.ExtendedResourceClaimStatus
	return s != nil && s.ResourceClaimName == name
}

// containers calls f with the environment of every container until it returns true.
func containers(p *v1.Pod, f func(env []v1.EnvVar, from []v1.EnvFromSource) bool) bool {
	for i := range p.Spec.InitContainers {
		if f(p.Spec.InitContainers[i].Env, p.Spec.InitContainers[i].EnvFrom) {
			return true
		}
	}
	for i := range p.Spec.Containers {
		if f(p.Spec.Containers[i].Env, p.Spec.Containers[i].EnvFrom) {
			return true
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if f(p.Spec.EphemeralContainers[i].Env, p.Spec.EphemeralContainers[i].EnvFrom) {
			return true
		}
	}
	return false
}

func usesSecret(p *v1.Pod, name string) bool {
	for _, r := range p.Spec.ImagePullSecrets {
		if r.Name == name {
			return true
		}
	}
	if containers(p, func(env []v1.EnvVar, from []v1.EnvFromSource) bool {
		for i := range from {
			if s := from[i].SecretRef; s != nil && s.Name == name {
				return true
			}
		}
		for i := range env {
			if f := env[i].ValueFrom; f != nil && f.SecretKeyRef != nil && f.SecretKeyRef.Name == name {
				return true
			}
		}
		return false
	}) {
		return true
	}
	for i := range p.Spec.Volumes {
		if volumeNamesSecret(&p.Spec.Volumes[i].VolumeSource, name) {
			return true
		}
	}
	return false
}

func volumeNamesSecret(s *v1.VolumeSource, name string) bool {
	local := func(r *v1.LocalObjectReference) bool { return r != nil && r.Name == name }
	switch {
	case s.Secret != nil:
		return s.Secret.SecretName == name
	case s.Projected != nil:
		for i := range s.Projected.Sources {
			if x := s.Projected.Sources[i].Secret; x != nil && x.Name == name {
				return true
			}
		}
	case s.AzureFile != nil:
		return s.AzureFile.SecretName == name
	case s.CephFS != nil:
		return local(s.CephFS.SecretRef)
	case s.Cinder != nil:
		return local(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		return local(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		return local(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		return local(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		return local(s.ISCSI.SecretRef)
	case s.StorageOS != nil:
		return local(s.StorageOS.SecretRef)
	case s.CSI != nil:
		return local(s.CSI.NodePublishSecretRef)
	}
	return false
}

func usesConfigMap(p *v1.Pod, name string) bool {
	if containers(p, func(env []v1.EnvVar, from []v1.EnvFromSource) bool {
		for i := range from {
			if c := from[i].ConfigMapRef; c != nil && c.Name == name {
				return true
			}
		}
		for i := range env {
			if f := env[i].ValueFrom; f != nil && f.ConfigMapKeyRef != nil && f.ConfigMapKeyRef.Name == name {
				return true
			}
		}
		return false
	}) {
		return true
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if c := v.Projected.Sources[j].ConfigMap; c != nil && c.Name == name {
				return true
			}
		}
	}
	return false
}

// namesSecret tells whether a node needs the secret to mount the volume.
func namesSecret(pv *v1.PersistentVolume, namespace, name string) bool {
	if pv == nil {
		return false
	}
	claimNamespace := ""
	if pv.Spec.ClaimRef != nil {
		claimNamespace = pv.Spec.ClaimRef.Namespace
	}
	ref := func(r *v1.SecretReference) bool {
		if r == nil || r.Name != name {
			return false
		}
		if r.Namespace != "" {
			return r.Namespace == namespace
		}
		return claimNamespace == namespace
	}
	s := &pv.Spec.PersistentVolumeSource
	switch {
	case s.AzureFile != nil:
		in := claimNamespace
		if s.AzureFile.SecretNamespace != nil && *s.AzureFile.SecretNamespace != "" {
			in = *s.AzureFile.SecretNamespace
		}
		return s.AzureFile.SecretName == name && in == namespace
	case s.CephFS != nil:
		return ref(s.CephFS.SecretRef)
	case s.Cinder != nil:
		return ref(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		return ref(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		return ref(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		return ref(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		return ref(s.ISCSI.SecretRef)
	case s.StorageOS != nil:
		return s.StorageOS.SecretRef != nil && s.StorageOS.SecretRef.Name == name && s.StorageOS.SecretRef.Namespace == namespace
	case s.CSI != nil:
		// The controller's secrets are none of the node's business.
		return ref(s.CSI.NodePublishSecretRef) || ref(s.CSI.NodeStageSecretRef) || ref(s.CSI.NodeExpandSecretRef)
	}
	return false
}
