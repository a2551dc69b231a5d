package legacytoken

import corev1 "k8s.io/api/core/v1"

// secretsOf calls f with the name of each Secret that a pod uses
// (VisitPodSecretNames in Kubernetes).
func secretsOf(pod *corev1.Pod, f func(name string)) {
	ref := func(r *corev1.LocalObjectReference) {
		if r != nil && r.Name != "" {
			f(r.Name)
		}
	}
	for i := range pod.Spec.ImagePullSecrets {
		ref(&pod.Spec.ImagePullSecrets[i])
	}
	container := func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for i := range from {
			if s := from[i].SecretRef; s != nil {
				ref(&s.LocalObjectReference)
			}
		}
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.SecretKeyRef != nil {
				ref(&v.SecretKeyRef.LocalObjectReference)
			}
		}
	}
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			container(cs[i].Env, cs[i].EnvFrom)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		container(c.Env, c.EnvFrom)
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i].VolumeSource; {
		case v.Secret != nil:
			ref(&corev1.LocalObjectReference{Name: v.Secret.SecretName})
		case v.Projected != nil:
			for j := range v.Projected.Sources {
				if s := v.Projected.Sources[j].Secret; s != nil {
					ref(&s.LocalObjectReference)
				}
			}
		case v.AzureFile != nil:
			ref(&corev1.LocalObjectReference{Name: v.AzureFile.SecretName})
		case v.CephFS != nil:
			ref(v.CephFS.SecretRef)
		case v.Cinder != nil:
			ref(v.Cinder.SecretRef)
		case v.FlexVolume != nil:
			ref(v.FlexVolume.SecretRef)
		case v.RBD != nil:
			ref(v.RBD.SecretRef)
		case v.ScaleIO != nil:
			ref(v.ScaleIO.SecretRef)
		case v.ISCSI != nil:
			ref(v.ISCSI.SecretRef)
		case v.StorageOS != nil:
			ref(v.StorageOS.SecretRef)
		case v.CSI != nil:
			ref(v.CSI.NodePublishSecretRef)
		}
	}
}
