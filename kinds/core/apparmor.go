package core

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// appArmorFromAnnotations writes the old annotations of a pod into the fields that
// replaced them, where a container has none.
func appArmorFromAnnotations(p *v1.Pod) {
	if p.Spec.OS != nil && p.Spec.OS.Name == v1.Windows {
		return
	}
	var whole *v1.AppArmorProfile
	if p.Spec.SecurityContext != nil {
		whole = p.Spec.SecurityContext.AppArmorProfile
	}
	eachContainer(&p.Spec, func(c *v1.Container) {
		text, ok := p.Annotations[v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		profile := appArmorProfile(text)
		if profile == nil || len(validateAppArmor(profile, nil)) > 0 || equality.Semantic.DeepEqual(profile, whole) {
			return
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &v1.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
	})
}

// appArmorProfile is the field's form of an annotation; nil if it means nothing.
func appArmorProfile(text string) *v1.AppArmorProfile {
	switch text {
	case v1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeUnconfined}
	case v1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeRuntimeDefault}
	}
	if name, ok := strings.CutPrefix(text, v1.DeprecatedAppArmorBetaProfileNamePrefix); ok && name != "" {
		return &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

const maxLocalhostProfile = 4095

func validateAppArmor(p *v1.AppArmorProfile, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	switch p.Type {
	case v1.AppArmorProfileTypeLocalhost:
		switch name := p.LocalhostProfile; {
		case name == nil:
			errs = append(errs, field.Required(path.Child("localhostProfile"), "must be set when AppArmor type is Localhost"))
		case strings.TrimSpace(*name) != *name:
			errs = append(errs, field.Invalid(path.Child("localhostProfile"), *name, "must not be padded with whitespace"))
		case *name == "":
			errs = append(errs, field.Required(path.Child("localhostProfile"), "must be set when AppArmor type is Localhost"))
		case len(*name) > maxLocalhostProfile:
			errs = append(errs, field.TooLong(path.Child("localhostProfile"), "", maxLocalhostProfile))
		}
	case v1.AppArmorProfileTypeRuntimeDefault, v1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(path.Child("localhostProfile"), p.LocalhostProfile, fmt.Sprintf("can only be set when AppArmor type is %s", v1.AppArmorProfileTypeLocalhost)))
		}
	case "":
		errs = append(errs, field.Required(path.Child("type"), "type is required when appArmorProfile is set"))
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), p.Type,
			[]v1.AppArmorProfileType{v1.AppArmorProfileTypeLocalhost, v1.AppArmorProfileTypeRuntimeDefault, v1.AppArmorProfileTypeUnconfined}))
	}
	return errs
}
