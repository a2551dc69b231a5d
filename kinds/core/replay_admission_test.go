package core

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
)

// admit does what admission and allocation do between defaults and validation.
func admit(obj kinds.Object) field.ErrorList {
	switch o := obj.(type) {
	case *v1.Pod:
		admitPod(o)
	case *v1.Service:
		s := &o.Spec
		if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
			s.ClusterIPs = []string{s.ClusterIP}
		}
		if errs := ValidateServiceClusterIPs(o, nil); len(errs) > 0 {
			return errs
		}
		allocate(o)
	case *v1.PersistentVolumeClaim:
		o.Finalizers = append(o.Finalizers, "kubernetes.io/pvc-protection")
	case *v1.PersistentVolume:
		o.Finalizers = append(o.Finalizers, "kubernetes.io/pv-protection")
	case *v1.Node:
		if !slices.ContainsFunc(o.Spec.Taints, func(t v1.Taint) bool { return t.Key == v1.TaintNodeNotReady }) {
			o.Spec.Taints = append(o.Spec.Taints, v1.Taint{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule})
		}
	}
	return nil
}

func allocate(o *v1.Service) {
	s := &o.Spec
	if s.Type == v1.ServiceTypeExternalName {
		return
	}
	if s.ClusterIP == "" {
		s.ClusterIP, s.ClusterIPs = "10.96.0.99", []string{"10.96.0.99"}
	}
	if s.IPFamilyPolicy == nil {
		s.IPFamilyPolicy = ptr.To(v1.IPFamilyPolicySingleStack)
		if len(s.Selector) == 0 && s.ClusterIP == v1.ClusterIPNone && len(s.IPFamilies) == 0 {
			s.IPFamilyPolicy, s.IPFamilies = ptr.To(v1.IPFamilyPolicyRequireDualStack), []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol}
		}
	}
	if len(s.IPFamilies) == 0 {
		s.IPFamilies = []v1.IPFamily{v1.IPv4Protocol}
	}
	for i := range s.Ports {
		if p := &s.Ports[i]; usesNodePorts(o) && p.NodePort == 0 && ptr.Deref(s.AllocateLoadBalancerNodePorts, true) {
			p.NodePort = 30100 + int32(i)
		}
	}
	if usesHealthCheckPort(o) && s.HealthCheckNodePort == 0 {
		s.HealthCheckNodePort = 30200
	}
}

func admitPod(p *v1.Pod) {
	s := &p.Spec
	if s.ServiceAccountName == "" {
		s.ServiceAccountName, s.DeprecatedServiceAccount = "default", "default"
	}
	mounted := s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken
	if mounted {
		const name, path = "kube-api-access-bcdfg", "/var/run/secrets/kubernetes.io/serviceaccount"
		used := false
		for _, list := range [][]v1.Container{s.InitContainers, s.Containers} {
			for i := range list {
				if !slices.ContainsFunc(list[i].VolumeMounts, func(m v1.VolumeMount) bool { return m.MountPath == path }) {
					list[i].VolumeMounts = append(list[i].VolumeMounts, v1.VolumeMount{Name: name, MountPath: path, ReadOnly: true})
					used = true
				}
			}
		}
		if used {
			s.Volumes = append(s.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{
				DefaultMode: ptr.To(fileMode),
				Sources: []v1.VolumeProjection{
					{ServiceAccountToken: &v1.ServiceAccountTokenProjection{ExpirationSeconds: ptr.To[int64](3607), Path: "token"}},
					{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []v1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
					{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
				},
			}}})
		}
	}
	tolerateNodes(p)
}

// tolerateNodes is what admission adds on creation and update alike.
func tolerateNodes(p *v1.Pod) {
	s := &p.Spec
	if s.Priority == nil && s.PriorityClassName == "" {
		s.Priority, s.PreemptionPolicy = ptr.To[int32](0), ptr.To(v1.PreemptLowerPriority)
	}
	for _, key := range []string{v1.TaintNodeNotReady, v1.TaintNodeUnreachable} {
		tolerates := func(t v1.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == v1.TaintEffectNoExecute || t.Effect == "")
		}
		if !slices.ContainsFunc(s.Tolerations, tolerates) {
			s.Tolerations = append(s.Tolerations, v1.Toleration{Key: key, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](300)})
		}
	}
}

func allocateUpdate(n, o *v1.Service) {
	if n.Spec.ClusterIP != "" && o.Spec.ClusterIP != n.Spec.ClusterIP && slices.Equal(n.Spec.ClusterIPs, o.Spec.ClusterIPs) {
		n.Spec.ClusterIPs = []string{n.Spec.ClusterIP}
	}
	allocate(n)
}
