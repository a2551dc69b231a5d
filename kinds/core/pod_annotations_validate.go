package core

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

const deletionCostKey = "controller.kubernetes.io/pod-deletion-cost"

// annotations judges those annotations of a pod that mean something.
func (c *podCheck) annotations(a map[string]string, path *field.Path) {
	if len(a) == 0 {
		return
	}
	if value, ok := a[v1.MirrorPodAnnotationKey]; ok && c.spec.NodeName == "" {
		c.Invalid(path.Key(v1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set")
	}
	if text := a[v1.TolerationsAnnotationKey]; text != "" {
		var list []v1.Toleration
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			c.Invalid(path, v1.TolerationsAnnotationKey, err.Error())
		} else {
			c.tolerations(list, path.Child(v1.TolerationsAnnotationKey))
		}
	}
	if !c.allow.deletionCost {
		if _, err := deletionCost(a); err != nil {
			c.Invalid(path.Key(deletionCostKey), a[deletionCostKey], "must be a 32bit integer")
		}
	}
	if p, ok := a[v1.SeccompPodAnnotationKey]; ok {
		c.seccompText(p, path.Child(v1.SeccompPodAnnotationKey))
	}
	for key, p := range a {
		if strings.HasPrefix(key, v1.SeccompContainerAnnotationKeyPrefix) {
			c.seccompText(p, path.Child(key))
		}
	}
	for key, p := range a {
		name, ok := strings.CutPrefix(key, v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !ok {
			continue
		}
		found := false
		eachContainer(c.spec, func(ctr *v1.Container) { found = found || ctr.Name == name })
		if !found {
			c.Invalid(path.Key(key), name, "container not found")
		}
		if p != "" && p != v1.DeprecatedAppArmorBetaProfileRuntimeDefault && p != v1.DeprecatedAppArmorBetaProfileNameUnconfined &&
			!strings.HasPrefix(p, v1.DeprecatedAppArmorBetaProfileNamePrefix) {
			c.Invalid(path.Key(key), p, fmt.Sprintf("invalid AppArmor profile name: %q", p))
		}
	}
}

// deletionCost reads the cost that a pod's annotation gives to its deletion: a
// number as it is written, without a plus or leading zeros.
func deletionCost(a map[string]string) (int32, error) {
	text, ok := a[deletionCostKey]
	if !ok {
		return 0, nil
	}
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || text != "0" && digits[0] == '0' {
		return 0, fmt.Errorf("invalid value %q", text)
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int32(n), err
}

func (c *podCheck) seccompText(p string, path *field.Path) {
	switch p {
	case v1.SeccompProfileRuntimeDefault, v1.DeprecatedSeccompProfileDockerDefault, v1.SeccompProfileNameUnconfined:
		return
	}
	if name, ok := strings.CutPrefix(p, v1.SeccompLocalhostProfileNamePrefix); ok {
		c.Add(rules.RelativePath(name, path)...)
		return
	}
	c.Invalid(path, p, "must be a valid seccomp profile")
}

// annotationsMatch wants annotations to say what the fields say that replaced them.
func (c *podCheck) annotationsMatch(a map[string]string, spec *field.Path) {
	if len(a) == 0 {
		return
	}
	sc := c.spec.SecurityContext
	if sc != nil && sc.SeccompProfile != nil {
		if text, ok := a[v1.SeccompPodAnnotationKey]; ok {
			c.seccompMatches(text, sc.SeccompProfile, spec.Child("securityContext", "seccompProfile"))
		}
	}
	c.eachWithPath(spec, func(ctr *v1.Container, at *field.Path) {
		if ctr.SecurityContext == nil || ctr.SecurityContext.SeccompProfile == nil {
			return
		}
		if text, ok := a[v1.SeccompContainerAnnotationKeyPrefix+ctr.Name]; ok {
			c.seccompMatches(text, ctr.SecurityContext.SeccompProfile, at.Child("securityContext", "seccompProfile"))
		}
	})
	if c.spec.OS != nil && c.spec.OS.Name == v1.Windows {
		return
	}
	c.eachWithPath(spec, func(ctr *v1.Container, at *field.Path) {
		var profile *v1.AppArmorProfile
		if sc != nil {
			profile = sc.AppArmorProfile
		}
		if ctr.SecurityContext != nil && ctr.SecurityContext.AppArmorProfile != nil {
			profile = ctr.SecurityContext.AppArmorProfile
		}
		text, ok := a[v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+ctr.Name]
		if profile != nil && ok {
			c.appArmorMatches(text, profile, at.Child("securityContext", "appArmorProfile"))
		}
	})
}

func (c *podCheck) seccompMatches(text string, p *v1.SeccompProfile, path *field.Path) {
	match, name := true, ""
	switch p.Type {
	case v1.SeccompProfileTypeUnconfined:
		match = text == v1.SeccompProfileNameUnconfined
	case v1.SeccompProfileTypeRuntimeDefault:
		match = text == v1.SeccompProfileRuntimeDefault || text == v1.DeprecatedSeccompProfileDockerDefault
	case v1.SeccompProfileTypeLocalhost:
		if name, match = strings.CutPrefix(text, v1.SeccompLocalhostProfileNamePrefix); match && (p.LocalhostProfile == nil || name != *p.LocalhostProfile) {
			c.Forbidden(path.Child("localhostProfile"), "seccomp profile in annotation and field must match")
		}
	}
	if !match {
		c.Forbidden(path.Child("type"), "seccomp type in annotation and field must match")
	}
}

func (c *podCheck) appArmorMatches(text string, p *v1.AppArmorProfile, path *field.Path) {
	match, name := true, ""
	switch p.Type {
	case v1.AppArmorProfileTypeUnconfined:
		match = text == v1.DeprecatedAppArmorBetaProfileNameUnconfined
	case v1.AppArmorProfileTypeRuntimeDefault:
		match = text == v1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case v1.AppArmorProfileTypeLocalhost:
		if name, match = strings.CutPrefix(text, v1.DeprecatedAppArmorBetaProfileNamePrefix); match && (p.LocalhostProfile == nil || name != *p.LocalhostProfile) {
			c.Forbidden(path.Child("localhostProfile"), "apparmor profile in annotation and field must match")
		}
	}
	if !match {
		c.Forbidden(path.Child("type"), "apparmor type in annotation and field must match")
	}
}

// comparison judges a toleration that compares numbers, a feature that is off: only
// an old pod may have it.
func (c *podCheck) comparison(t *v1.Toleration, path *field.Path) {
	if !c.allow.comparingTolerates {
		c.Add(field.NotSupported(path.Child("operator"), t.Operator,
			[]v1.TolerationOperator{v1.TolerationOpEqual, v1.TolerationOpExists, v1.TolerationOpLt, v1.TolerationOpGt}))
		return
	}
	c.Messages(path.Child("value"), t.Value, content.IsDecimalInteger(t.Value))
	if _, err := strconv.ParseInt(t.Value, 10, 64); err != nil {
		c.Invalid(path.Child("value"), t.Value, err.Error())
	}
}
