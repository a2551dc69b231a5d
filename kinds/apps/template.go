package apps

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
)

func defaultTemplate(t *corev1.PodTemplateSpec) { core.DefaultPodTemplate(t) }

// validateTemplate judges a template; old is the one that it replaces, or nil.
func validateTemplate(t, old *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if old == nil {
		return core.ValidatePodTemplate(t, path)
	}
	return core.ValidatePodTemplateUpdate(t, old, path)
}

func templateWarnings(t, old *corev1.PodTemplateSpec) []string {
	return core.PodTemplateWarnings(t, old, field.NewPath("spec", "template"))
}

func validateClaim(c *corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	return core.ValidateClaimSpec(&c.Spec, path)
}
