package core

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateConfigMap(*v1.ConfigMap) field.ErrorList            { return nil }
func validateConfigMapUpdate(_, _ *v1.ConfigMap) field.ErrorList { return nil }
func validateSecret(*v1.Secret) field.ErrorList                  { return nil }
func validateSecretUpdate(_, _ *v1.Secret) field.ErrorList       { return nil }
func validateNamespace(*v1.Namespace) field.ErrorList            { return nil }
func validateNamespaceUpdate(_, _ *v1.Namespace) field.ErrorList { return nil }
func validateNamespaceStatus(_, _ *v1.Namespace) field.ErrorList { return nil }
func validateNamespaceFinalize(_, _ *v1.Namespace) field.ErrorList {
	return nil
}
func validateEndpoints(*v1.Endpoints) field.ErrorList                          { return nil }
func validateEndpointsUpdate(_, _ *v1.Endpoints) field.ErrorList               { return nil }
func validateNode(*v1.Node) field.ErrorList                                    { return nil }
func validateNodeUpdate(_, _ *v1.Node) field.ErrorList                         { return nil }
func validateNodeStatus(_, _ *v1.Node) field.ErrorList                         { return nil }
func nodeWarnings(*v1.Node) []string                                           { return nil }
func validateEvent(*v1.Event) field.ErrorList                                  { return nil }
func validateLimitRange(*v1.LimitRange) field.ErrorList                        { return nil }
func validateResourceQuota(*v1.ResourceQuota) field.ErrorList                  { return nil }
func validateResourceQuotaUpdate(_, _ *v1.ResourceQuota) field.ErrorList       { return nil }
func validateResourceQuotaStatus(_, _ *v1.ResourceQuota) field.ErrorList       { return nil }
func validatePersistentVolume(*v1.PersistentVolume) field.ErrorList            { return nil }
func validatePersistentVolumeUpdate(_, _ *v1.PersistentVolume) field.ErrorList { return nil }
func validatePersistentVolumeStatus(_, _ *v1.PersistentVolume) field.ErrorList { return nil }
func persistentVolumeWarnings(*v1.PersistentVolume) []string                   { return nil }
func validatePersistentVolumeClaim(*v1.PersistentVolumeClaim) field.ErrorList  { return nil }
func validatePersistentVolumeClaimUpdate(_, _ *v1.PersistentVolumeClaim) field.ErrorList {
	return nil
}
func validatePersistentVolumeClaimStatus(_, _ *v1.PersistentVolumeClaim) field.ErrorList {
	return nil
}
func persistentVolumeClaimWarnings(*v1.PersistentVolumeClaim) []string        { return nil }
func validateReplicationController(*v1.ReplicationController) field.ErrorList { return nil }
func validateReplicationControllerUpdate(_, _ *v1.ReplicationController) field.ErrorList {
	return nil
}
func validateReplicationControllerStatus(_, _ *v1.ReplicationController) field.ErrorList {
	return nil
}
func validateService(*v1.Service) field.ErrorList            { return nil }
func validateServiceUpdate(_, _ *v1.Service) field.ErrorList { return nil }
func validateServiceStatus(_, _ *v1.Service) field.ErrorList { return nil }
func serviceWarnings(_, _ *v1.Service) []string              { return nil }

// ValidateBinding judges what a scheduler posts.
func ValidateBinding(*v1.Binding) field.ErrorList    { return nil }
func validatePod(*v1.Pod) field.ErrorList            { return nil }
func validatePodUpdate(_, _ *v1.Pod) field.ErrorList { return nil }
func validatePodStatus(_, _ *v1.Pod) field.ErrorList { return nil }
func validatePodEphemeral(_, _ *v1.Pod) field.ErrorList {
	return nil
}
func validatePodResize(_, _ *v1.Pod) field.ErrorList { return nil }
func podWarnings(_, _ *v1.Pod) []string              { return nil }

// ValidatePodTemplate judges a pod template of any kind.
func ValidatePodTemplate(*v1.PodTemplateSpec, *field.Path) field.ErrorList { return nil }

// ValidatePodSpec judges a pod spec in a template; meta is the template's metadata.
func ValidatePodSpec(*v1.PodSpec, *metav1.ObjectMeta, *field.Path) field.ErrorList { return nil }

// ValidatePodTemplateUpdate judges a template that replaces old: what old already
// had wrong and later rules forbid may stay.
func ValidatePodTemplateUpdate(_, _ *v1.PodTemplateSpec, _ *field.Path) field.ErrorList {
	return nil
}

// PodTemplateWarnings are the warnings of a template; old is nil on creation.
func PodTemplateWarnings(_, _ *v1.PodTemplateSpec, _ *field.Path) []string { return nil }
