package rules

import (
	"bytes"
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// A pod's spec is arranged differently inside of Kubernetes (pkg/apis/core/types.go):
// what it shares with its node stands in the security context, the old name of the
// service account nowhere, and the later fields in another order.
var (
	podSpecBefore = []string{
		"Volumes", "InitContainers", "Containers", "EphemeralContainers", "RestartPolicy", "TerminationGracePeriodSeconds",
		"ActiveDeadlineSeconds", "DNSPolicy", "NodeSelector", "ServiceAccountName", "AutomountServiceAccountToken", "NodeName",
	}
	podSpecShared = []string{"HostNetwork", "HostPID", "HostIPC", "ShareProcessNamespace", "HostUsers"}
	podSpecAfter  = []string{
		"ImagePullSecrets", "Hostname", "Subdomain", "SetHostnameAsFQDN", "Affinity", "SchedulerName", "Tolerations", "HostAliases",
		"PriorityClassName", "Priority", "PreemptionPolicy", "DNSConfig", "ReadinessGates", "RuntimeClassName", "Overhead",
		"EnableServiceLinks", "TopologySpreadConstraints", "OS", "SchedulingGates", "ResourceClaims", "Resources", "HostnameOverride",
		"SchedulingGroup",
	}
	podSecurity = []string{
		"SELinuxOptions", "WindowsOptions", "RunAsUser", "RunAsGroup", "RunAsNonRoot", "SupplementalGroups", "SupplementalGroupsPolicy",
		"FSGroup", "FSGroupChangePolicy", "Sysctls", "SeccompProfile", "AppArmorProfile", "SELinuxChangePolicy",
	}
)

// arranged are the other types whose fields stand in another order inside.
var arranged = map[reflect.Type][]string{
	reflect.TypeFor[corev1.VolumeSource](): {
		"HostPath", "EmptyDir", "GCEPersistentDisk", "AWSElasticBlockStore", "GitRepo", "Secret", "NFS", "ISCSI", "Glusterfs",
		"PersistentVolumeClaim", "RBD", "Quobyte", "FlexVolume", "Cinder", "CephFS", "Flocker", "DownwardAPI", "FC", "AzureFile",
		"ConfigMap", "VsphereVolume", "AzureDisk", "PhotonPersistentDisk", "Projected", "PortworxVolume", "ScaleIO", "StorageOS",
		"CSI", "Ephemeral", "Image",
	},
	reflect.TypeFor[corev1.PersistentVolumeSource](): {
		"GCEPersistentDisk", "AWSElasticBlockStore", "HostPath", "Glusterfs", "NFS", "RBD", "Quobyte", "ISCSI", "FlexVolume", "Cinder",
		"CephFS", "FC", "Flocker", "AzureFile", "VsphereVolume", "AzureDisk", "PhotonPersistentDisk", "PortworxVolume", "ScaleIO",
		"Local", "StorageOS", "CSI",
	},
}

func writePodSpec(b *bytes.Buffer, v reflect.Value) error {
	w := fieldWriter{b: b}
	return w.object(func() error {
		if err := w.named(v, podSpecBefore); err != nil {
			return err
		}
		b.WriteString(`,"SecurityContext":`)
		if err := writePodSecurity(b, v); err != nil {
			return err
		}
		return w.named(v, podSpecAfter)
	})
}

func writePodSecurity(b *bytes.Buffer, spec reflect.Value) error {
	security := spec.FieldByName("SecurityContext")
	if security.IsNil() {
		b.WriteString("null")
		return nil
	}
	w := fieldWriter{b: b}
	return w.object(func() error {
		if err := w.named(spec, podSpecShared); err != nil {
			return err
		}
		return w.named(security.Elem(), podSecurity)
	})
}
