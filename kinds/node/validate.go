package node

import (
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/node/validation in Kubernetes.

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	path := field.NewPath("handler")
	errs := row.Messages(c.Handler, rules.DNSLabel(c.Handler, false), path)
	if c.Handler == "" {
		errs = field.ErrorList{field.Required(path, "")}
	}
	if c.Overhead != nil {
		errs = append(errs, core.ValidateContainerLimits(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if s := c.Scheduling; s != nil {
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, field.NewPath("scheduling", "nodeSelector"))...)
		errs = append(errs, core.ValidateTolerations(s.Tolerations, field.NewPath("scheduling", "tolerations"))...)
		seen := map[corev1.Toleration]bool{}
		for i, t := range s.Tolerations {
			key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
			if seen[key] {
				errs = append(errs, field.Duplicate(field.NewPath("scheduling", "tolerations").Index(i), rules.Internal(t)))
			}
			seen[key] = true
		}
	}
	return errs
}

func validateRuntimeClassUpdate(c, old *nodev1.RuntimeClass) field.ErrorList {
	return append(validateRuntimeClass(c), rules.Immutable(c.Handler, old.Handler, field.NewPath("handler"))...)
}
