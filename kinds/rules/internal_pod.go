package rules

import (
	"bytes"
	"reflect"
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
